"""Webhook endpoints and deliveries."""

from typing import Any

import marshmallow as ma

from agora.webhooks.states import Algorithm, Order, Payload
from api.schemas.common import Moment, PageArgs, Schema, page_of

FIFO = {"description": "within what deliveries keep their order: one is sent only when those before it have ended"}
PAYLOAD = {"description": "thin: ids, status, links; full: also the job's input and output, as far as they fit"}

METADATA_FILTER = {"description": "only events whose metadata, mostly that of their job, contains all of this"}


class EndpointIn(Schema):
    """An endpoint to be made."""

    url = ma.fields.String(required=True, validate=ma.validate.Length(1, 2048))
    event_types = ma.fields.List(ma.fields.String(validate=ma.validate.Length(1, 100)))
    description = ma.fields.String(validate=ma.validate.Length(0, 500))
    uid = ma.fields.String(allow_none=True, validate=ma.validate.Length(1, 100))
    agents = ma.fields.List(ma.fields.String(validate=ma.validate.Length(1, 100)))
    headers = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String())
    secret = ma.fields.String(allow_none=True, validate=ma.validate.Length(1, 200))
    algorithm = ma.fields.String(
        allow_none=True, validate=ma.validate.OneOf(list(Algorithm)),
        metadata={"description": "of the secret that is made: v1 (HMAC-SHA256) or v1a (ed25519)"},
    )  # fmt: skip
    schedule = ma.fields.List(ma.fields.Float(), allow_none=True)
    max_in_flight = ma.fields.Integer(strict=True)
    projects = ma.fields.List(ma.fields.String(validate=ma.validate.Length(1, 100)))
    metadata_filter = ma.fields.Dict(keys=ma.fields.String(), metadata=METADATA_FILTER)
    rate_limit = ma.fields.Float(allow_none=True, metadata={"description": "deliveries per second"})
    fifo = ma.fields.String(allow_none=True, validate=ma.validate.OneOf(list(Order)), metadata=FIFO)
    payload = ma.fields.String(validate=ma.validate.OneOf(list(Payload)), metadata=PAYLOAD)
    metadata = ma.fields.Dict(keys=ma.fields.String())


class EndpointPatch(Schema):
    """What to change of an endpoint."""

    url = ma.fields.String(validate=ma.validate.Length(1, 2048))
    event_types = ma.fields.List(ma.fields.String(validate=ma.validate.Length(1, 100)))
    description = ma.fields.String(validate=ma.validate.Length(0, 500))
    uid = ma.fields.String(allow_none=True, validate=ma.validate.Length(1, 100))
    agents = ma.fields.List(ma.fields.String(validate=ma.validate.Length(1, 100)))
    headers = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.String())
    schedule = ma.fields.List(ma.fields.Float(), allow_none=True)
    max_in_flight = ma.fields.Integer(strict=True)
    projects = ma.fields.List(ma.fields.String(validate=ma.validate.Length(1, 100)))
    metadata_filter = ma.fields.Dict(keys=ma.fields.String(), metadata=METADATA_FILTER)
    rate_limit = ma.fields.Float(allow_none=True, metadata={"description": "deliveries per second"})
    fifo = ma.fields.String(allow_none=True, validate=ma.validate.OneOf(list(Order)), metadata=FIFO)
    payload = ma.fields.String(validate=ma.validate.OneOf(list(Payload)), metadata=PAYLOAD)
    metadata = ma.fields.Dict(keys=ma.fields.String())


class EndpointOut(Schema):
    """An endpoint."""

    id = ma.fields.String()
    uid = ma.fields.String(allow_none=True)
    kind = ma.fields.String()
    job_id = ma.fields.String(allow_none=True)
    url = ma.fields.String()
    description = ma.fields.String()
    event_types = ma.fields.List(ma.fields.String())
    agents = ma.fields.List(ma.fields.String())
    headers = ma.fields.Dict()
    schedule = ma.fields.List(ma.fields.Float(), allow_none=True)
    max_in_flight = ma.fields.Integer()
    projects = ma.fields.List(ma.fields.String())
    metadata_filter = ma.fields.Dict()
    rate_limit = ma.fields.Float(allow_none=True)
    fifo = ma.fields.String(allow_none=True)
    payload = ma.fields.String()
    schema_version = ma.fields.Integer(metadata={"description": "of the payloads, pinned when it was made"})
    allowance = ma.fields.Integer(metadata={"description": "deliveries that may be under way to it just now"})
    draining = ma.fields.Boolean(metadata={"description": "what was held is being released at a pace"})
    metadata = ma.fields.Dict()
    status = ma.fields.String()
    status_reason = ma.fields.String(allow_none=True)
    last_success_at = Moment(allow_none=True)
    failing_since = Moment(allow_none=True)
    consecutive_failures = ma.fields.Integer()
    open_until = Moment(allow_none=True)
    created_at = Moment()
    updated_at = Moment()


class NewEndpointOut(EndpointOut):
    """A new endpoint, with its secret."""

    secret = ma.fields.String(
        allow_none=True, metadata={"description": "shown this once; null in the answer to a repeat of the request"}
    )


class TestIn(Schema):
    """What to test with."""

    event_type = ma.fields.String(
        load_default=None, allow_none=True, validate=ma.validate.Length(1, 100),
        metadata={"description": "a type of the catalogue, whose example is sent; webhook.test by default"},
    )  # fmt: skip


class DeliveryQuery(PageArgs):
    """Which deliveries."""

    endpoint = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 100))
    status = ma.fields.List(ma.fields.String(validate=ma.validate.Length(1, 20)), load_default=list)
    job_id = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 100))
    event_type = ma.fields.String(load_default=None, validate=ma.validate.Length(1, 100))


class DeliveryAttemptOut(Schema):
    """One try of a delivery."""

    id = ma.fields.String()
    number = ma.fields.Integer()
    delivered = ma.fields.Boolean()
    started_at = Moment()
    duration_ms = ma.fields.Integer()
    timings = ma.fields.Dict()
    status_code = ma.fields.Integer(allow_none=True)
    error_class = ma.fields.String(allow_none=True)
    error = ma.fields.String(allow_none=True)
    request_headers = ma.fields.Dict()
    response_headers = ma.fields.Dict(allow_none=True)
    response_body = ma.fields.String(allow_none=True)
    peer_address = ma.fields.String(allow_none=True)


class DeliveryOut(Schema):
    """One event for one endpoint."""

    id = ma.fields.String()
    endpoint_id = ma.fields.String()
    event_id = ma.fields.String()
    job_id = ma.fields.String(allow_none=True)
    event_type = ma.fields.String()
    body = ma.fields.String()
    status = ma.fields.String()
    attempt = ma.fields.Integer(metadata={"description": "tries since it was last sent anew"})
    earlier_attempts = ma.fields.Integer(metadata={"description": "tries before that"})
    next_attempt_at = Moment(allow_none=True)
    last_status_code = ma.fields.Integer(allow_none=True)
    last_error = ma.fields.String(allow_none=True)
    created_at = Moment()
    ended_at = Moment(allow_none=True)
    attempts = ma.fields.List(ma.fields.Nested(DeliveryAttemptOut))


EndpointPage = page_of(EndpointOut, "EndpointPage")
DeliveryPage = page_of(DeliveryOut, "DeliveryPage")


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as the service takes them: lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
