"""Batches of jobs."""

from typing import Any

import marshmallow as ma

from agora.batches.service import MAX_JOBS
from agora.batches.types import STATUSES
from api.schemas.common import Moment, Schema, links_to, page_of
from api.schemas.jobs import JobIn

WEBHOOK_REFUSED = "A job of a batch has no webhook of its own; make an endpoint, which may take batch.completed."


class BatchJobIn(JobIn):
    """A job of a batch: as a single one, without a webhook or a concurrency key of its own."""

    class Meta(JobIn.Meta):
        """Marshmallow's settings."""

        exclude = ("webhook", "concurrency_key", "concurrency_limit", "concurrency_policy", "unique", "debounce")


class JobsField(ma.fields.List[Any]):
    """The jobs of a batch. Plain ones are looked through by hand: the schema takes twenty times as long."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        del attr, data, kwargs
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if not 1 <= len(value) <= MAX_JOBS:
            raise ma.ValidationError(f"A batch has 1 to {MAX_JOBS} jobs, not {len(value)}.")
        loaded, errors = [], {}
        for number, given in enumerate(value):
            try:
                loaded.append(plain(given) or load(given))
            except ma.ValidationError as error:
                errors[number] = error.messages
        if errors:
            raise ma.ValidationError(errors)
        return loaded


_JOB = BatchJobIn()
_PLAIN = frozenset({"agent", "action", "version", "input", "priority", "metadata"})
_NOT_GIVEN = {name: field.load_default for name, field in _JOB.load_fields.items() if name not in _PLAIN}
"""What the schema loads for the fields that a plain job does not have."""
MOST_NAME, MOST_VERSION, MOST_PRIORITY = 100, 1_000_000, 9


def load(given: Any) -> dict[str, Any]:
    """A job by its schema. Raises ValidationError."""
    if isinstance(given, dict) and "webhook" in given:
        raise ma.ValidationError({"webhook": [WEBHOOK_REFUSED]})
    found: dict[str, Any] = _JOB.load(given)
    return found


def plain(given: Any) -> dict[str, Any] | None:
    """What the schema would load from a job without times, None when it has some, or a fault."""
    if type(given) is not dict or not given.keys() <= _PLAIN:
        return None
    agent, action, value = given.get("agent"), given.get("action"), given.get("input")
    metadata, priority, version = given.get("metadata", {}), given.get("priority", 5), given.get("version", 1)
    fits = (
        _is_name(agent)
        and _is_name(action)
        and type(value) is dict
        and type(metadata) is dict
        and all(map(_is_name, metadata))
        and type(priority) is int
        and 0 <= priority <= MOST_PRIORITY
        and type(version) is int
        and 1 <= version <= MOST_VERSION
    )
    if not fits:
        return None
    return _NOT_GIVEN | {
        "agent": agent, "action": action, "version": given.get("version"), "input": value, "priority": priority,
        "metadata": metadata,
    }  # fmt: skip


def _is_name(text: Any) -> bool:
    return type(text) is str and 1 <= len(text) <= MOST_NAME


class BatchIn(Schema):
    """Jobs that are accepted together or not at all."""

    jobs = JobsField(
        ma.fields.Nested(BatchJobIn), required=True, metadata={"minItems": 1, "maxItems": MAX_JOBS}
    )  # fmt: skip
    metadata = ma.fields.Dict(keys=ma.fields.String(validate=ma.validate.Length(1, 100)), load_default=dict)


class BatchOut(Schema):
    """A batch."""

    id = ma.fields.String()
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES))
    size = ma.fields.Integer()
    counts = ma.fields.Dict(
        keys=ma.fields.String(), values=ma.fields.Integer(), metadata={"description": "jobs by state"}
    )
    progress = ma.fields.Float(metadata={"description": "share of the jobs that have ended"})
    metadata = ma.fields.Dict()
    cancel_requested_at = Moment(allow_none=True)
    created_at = Moment()
    ended_at = Moment(allow_none=True)
    links = links_to(
        self="/api/v1/batches/{id}", jobs="/api/v1/jobs?batch={id}", cancel="/api/v1/batches/{id}/cancel",
    )  # fmt: skip


class SubmittedBatchOut(BatchOut):
    """A batch that was just accepted."""

    job_ids = ma.fields.List(ma.fields.String(), metadata={"description": "in the order in which they were given"})


BatchPage = page_of(BatchOut, "BatchPage")
