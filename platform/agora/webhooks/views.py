"""Rows as the frozen values that callers get."""

from collections.abc import Sequence
from typing import Any

from agora.webhooks import vault
from agora.webhooks.models import AttemptRow, DeliveryRow, EndpointRow
from agora.webhooks.redaction import redact
from agora.webhooks.states import DeliveryState
from agora.webhooks.types import Delivery, DeliveryAttempt, Endpoint


def endpoint(row: EndpointRow) -> Endpoint:
    """An endpoint, without its secrets."""
    return Endpoint(
        id=row.id, team_id=row.team_id, uid=row.uid, kind=row.kind, job_id=row.job_id, url=row.url,
        description=row.description, event_types=tuple(row.event_types), agents=tuple(row.agents),
        projects=tuple(row.projects), metadata_filter=row.metadata_filter,
        headers=redact(vault.unseal_headers(row.headers)), schedule=tuple(row.schedule) if row.schedule else None,
        max_in_flight=row.max_in_flight,
        rate_limit=row.rate_limit, fifo=row.fifo, payload=row.payload, schema_version=row.schema_version,
        allowance=min(row.allowance, row.max_in_flight), draining=row.draining, metadata=row.meta,
        status=row.status, status_reason=row.status_reason,
        last_success_at=row.last_success_at, failing_since=row.failing_since,
        consecutive_failures=row.consecutive_failures, open_until=row.open_until, created_at=row.created_at,
        updated_at=row.updated_at,
    )  # fmt: skip


SAID = (
    "uid", "url", "description", "event_types", "agents", "projects", "metadata_filter", "schedule", "max_in_flight",
    "rate_limit", "fifo", "payload",
)  # fmt: skip


def told(row: EndpointRow) -> dict[str, Any]:
    """What is set of an endpoint, as the audit log tells of it; of its headers, only that they changed."""
    said = {name: getattr(row, name) for name in SAID}
    return said | {"metadata": row.meta, "headers": vault.unseal_headers(row.headers)}


def delivery(row: DeliveryRow, attempts: Sequence[AttemptRow] = ()) -> Delivery:
    """A delivery, with those of its tries that are given."""
    return Delivery(
        id=row.id, team_id=row.team_id, endpoint_id=row.endpoint_id, event_id=row.event_id, job_id=row.job_id,
        event_type=row.event_type, body=row.body, status=row.status, attempt=row.attempt,
        earlier_attempts=row.earlier_attempts,
        next_attempt_at=row.next_attempt_at if row.status == DeliveryState.PENDING else None,
        last_status_code=row.last_status_code, last_error=row.last_error, created_at=row.created_at,
        ended_at=row.ended_at, attempts=tuple(attempt(one) for one in attempts),
    )  # fmt: skip


def attempt(row: AttemptRow) -> DeliveryAttempt:
    """One try."""
    return DeliveryAttempt(
        id=row.id, number=row.number, delivered=row.delivered, started_at=row.started_at, duration_ms=row.duration_ms,
        timings=row.timings, status_code=row.status_code, error_class=row.error_class, error=row.error,
        request_headers=row.request_headers, response_headers=row.response_headers, response_body=row.response_body,
        peer_address=row.peer_address,
    )  # fmt: skip
