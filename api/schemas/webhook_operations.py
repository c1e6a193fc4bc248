"""Re-sends, replays, statistics, export and import of webhook endpoints."""

from typing import Any

import marshmallow as ma

from agora.webhooks.exchange import MOST
from agora.webhooks.operation_types import ACTIONS, IMPORTED, SENT_AGAIN, STATUSES
from agora.webhooks.states import Algorithm, DeliveryState, EndpointState, Order, Payload
from agora.webhooks.stats import LONGEST_WINDOW, SHORTEST_WINDOW, WINDOW
from api.schemas.common import Flag, Moment, PageArgs, Schema, links_to, page_of
from api.schemas.webhooks import METADATA_FILTER

NAME = ma.validate.Length(1, 128)
DRY_RUN = {"description": "only say what it would come to"}
COUNTED = {"description": "counted to 10,000"}


def names(**options: Any) -> ma.fields.List[Any]:
    """A list of names."""
    return ma.fields.List(ma.fields.String(validate=NAME), **options)


class RecoverIn(Schema):
    """Since when."""

    since = Moment(required=True, metadata={"description": "deliveries that were given up at or after this"})
    dry_run = Flag(load_default=False, metadata=DRY_RUN)


class ReplayIn(Schema):
    """Which deliveries to send again: ended ones to which all of it applies."""

    endpoint = ma.fields.String(
        load_default=None,
        allow_none=True,
        validate=NAME,
        metadata={"description": "id or uid; all of them without"},
    )
    status = ma.fields.List(
        ma.fields.String(validate=ma.validate.OneOf(list(SENT_AGAIN))), load_default=list,
        metadata={"description": "both, unless given"},
    )  # fmt: skip
    event_types = names(
        load_default=list, metadata={"description": "types, or beginnings that end in .*", "example": ["job.*"]}
    )
    job_id = ma.fields.String(load_default=None, allow_none=True, validate=NAME)
    since = Moment(load_default=None, allow_none=True, metadata={"description": "made at or after this"})
    until = Moment(load_default=None, allow_none=True, metadata={"description": "made at or before this"})
    all = Flag(load_default=False, metadata={"description": "must be true when nothing else is said"})
    dry_run = Flag(load_default=False, metadata=DRY_RUN)


class ReplayOut(Schema):
    """A replay."""

    id = ma.fields.String()
    endpoint_id = ma.fields.String(allow_none=True)
    action = ma.fields.String(validate=ma.validate.OneOf(ACTIONS))
    status = ma.fields.String(validate=ma.validate.OneOf(STATUSES))
    filter = ma.fields.Dict()
    matched = ma.fields.Integer(
        metadata={"description": "deliveries that it found when it was made, counted among the newest million"}
    )
    done = ma.fields.Integer(metadata={"description": "put in line to be sent again, at the pace of a drain"})
    skipped = ma.fields.Integer(metadata={"description": "sent again by somebody else, or gone, before their turn"})
    remaining = ma.fields.Integer()
    progress = ma.fields.Float()
    created_at = Moment()
    ended_at = Moment(allow_none=True)
    links = links_to(self="/api/v1/webhook-replays/{id}", cancel="/api/v1/webhook-replays/{id}/cancel")


class ReplayPreviewOut(Schema):
    """What a replay would find."""

    dry_run = ma.fields.Boolean(dump_default=True)
    matched = ma.fields.Integer()


class StatsQuery(Schema):
    """How far back."""

    window = ma.fields.Float(
        load_default=WINDOW, validate=ma.validate.Range(SHORTEST_WINDOW, LONGEST_WINDOW),
        metadata={"description": "seconds since the creation of a delivery; the last 1,000 are looked at, at most"},
    )  # fmt: skip


class FailureOut(Schema):
    """A try that failed."""

    at = Moment()
    delivery_id = ma.fields.String()
    error_class = ma.fields.String(allow_none=True)
    error = ma.fields.String(allow_none=True)
    status_code = ma.fields.Integer(allow_none=True)


class StatsOut(Schema):
    """How an endpoint does."""

    endpoint_id = ma.fields.String()
    window = ma.fields.Float(metadata={"description": "seconds"})
    since = Moment(allow_none=True, metadata={"description": "creation of the oldest delivery that was looked at"})
    deliveries = ma.fields.Integer(metadata={"description": "that were looked at"})
    complete = ma.fields.Boolean(metadata={"description": "false: there are more in the window than were looked at"})
    statuses = ma.fields.Dict(
        keys=ma.fields.String(validate=ma.validate.OneOf(list(DeliveryState))), values=ma.fields.Integer()
    )
    delivery_success_rate = ma.fields.Float(
        allow_none=True, metadata={"description": "succeeded of those that succeeded or are exhausted, 0 to 1"}
    )
    tries = ma.fields.Integer()
    try_success_rate = ma.fields.Float(allow_none=True, metadata={"description": "0 to 1"})
    tries_per_delivery = ma.fields.Float(allow_none=True, metadata={"description": "of those that were tried"})
    p50_ms = ma.fields.Float(allow_none=True, metadata={"description": "duration of tries that succeeded"})
    p95_ms = ma.fields.Float(allow_none=True)
    last_success_at = Moment(allow_none=True)
    last_failure = ma.fields.Nested(FailureOut, allow_none=True)
    pending = ma.fields.Integer(metadata=COUNTED)
    held = ma.fields.Integer(metadata=COUNTED)
    in_flight = ma.fields.Integer(metadata=COUNTED)
    status = ma.fields.String(validate=ma.validate.OneOf(list(EndpointState)))
    status_reason = ma.fields.String(allow_none=True)
    open_until = Moment(allow_none=True, metadata={"description": "it rests, and gets nothing until then"})
    allowance = ma.fields.Integer(metadata={"description": "deliveries that may be under way to it just now"})
    max_in_flight = ma.fields.Integer()
    draining = ma.fields.Boolean()
    failing_since = Moment(allow_none=True)
    disabled_at = Moment(
        allow_none=True, metadata={"description": "when it will be disabled unless a delivery succeeds"}
    )


class ExportArgs(PageArgs):
    """Where in an export."""

    limit = ma.fields.Integer(load_default=MOST, validate=ma.validate.Range(1, MOST))


class ExchangedEndpoint(Schema):
    """An endpoint as it is imported."""

    id = ma.fields.String(validate=NAME, metadata={"description": "finds it again when it has no uid"})
    uid = ma.fields.String(allow_none=True, validate=NAME, metadata={"description": "finds it again"})
    url = ma.fields.String(validate=ma.validate.Length(1, 2048))
    description = ma.fields.String(validate=ma.validate.Length(0, 1000))
    event_types = names()
    agents = names()
    projects = names()
    metadata_filter = ma.fields.Dict(keys=ma.fields.String(), metadata=METADATA_FILTER)
    headers = ma.fields.Dict(
        keys=ma.fields.String(), values=ma.fields.String(),
        metadata={"description": "[redacted] keeps the value that the endpoint has; a new one needs the value"},
    )  # fmt: skip
    algorithm = ma.fields.String(
        allow_none=True, validate=ma.validate.OneOf(list(Algorithm)), metadata={"description": "of a new one's secret"}
    )
    schedule = ma.fields.List(ma.fields.Float(), allow_none=True)
    max_in_flight = ma.fields.Integer(strict=True)
    rate_limit = ma.fields.Float(allow_none=True)
    fifo = ma.fields.String(allow_none=True, validate=ma.validate.OneOf(list(Order)))
    payload = ma.fields.String(validate=ma.validate.OneOf(list(Payload)))
    metadata = ma.fields.Dict(keys=ma.fields.String())
    status = ma.fields.String(
        validate=ma.validate.OneOf(list(EndpointState)),
        metadata={"description": "a new one that is not active is made paused; others keep theirs"},
    )


class ExportedOut(ExchangedEndpoint):
    """An endpoint as it is exported, with all that an import takes."""


class ImportIn(Schema):
    """Endpoints to be made or changed."""

    endpoints = ma.fields.List(ma.fields.Nested(ExchangedEndpoint), required=True, validate=ma.validate.Length(1, MOST))
    dry_run = Flag(load_default=False, metadata=DRY_RUN)


class ImportedOut(Schema):
    """What became of one of them."""

    action = ma.fields.String(validate=ma.validate.OneOf(IMPORTED))
    uid = ma.fields.String(allow_none=True)
    id = ma.fields.String(allow_none=True, metadata={"description": "null: a dry run makes none"})
    secret = ma.fields.String(allow_none=True, metadata={"description": "of a new one; shown this once"})


class ImportOut(Schema):
    """What became of all, in the order given."""

    dry_run = ma.fields.Boolean()
    created = ma.fields.Integer()
    updated = ma.fields.Integer()
    unchanged = ma.fields.Integer()
    endpoints = ma.fields.List(ma.fields.Nested(ImportedOut))


ReplayPage = page_of(ReplayOut, "ReplayPage")
ExportPage = page_of(ExportedOut, "WebhookExportPage")
