"""The events of webhooks themselves: of endpoints that fail, and of what could not be delivered."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from agora.events.catalogue_jobs import JOB
from agora.events.declare import MOMENT, EventData, EventType, Links, Time

EndpointId = Annotated[str, Field(pattern=r"^whe_[0-9a-z]{26}$", description="the endpoint")]
DeliveryId = Annotated[str, Field(pattern=r"^whd_[0-9a-z]{26}$", description="the delivery")]
Said = str | None
"""Text that may be null, and is left out only where it would be too large."""
ENDPOINT: Final = "whe_01m854ggm1fa6n2v8k4r9c7xqd"
DELIVERY: Final = "whd_01m854ggm9f8w3j5q7t2y6bzkh"


class EndpointData(EventData):
    """What every event of an endpoint says."""

    endpoint_id: EndpointId
    uid: str | None = Field(description="the team's own name of it")
    url: str | None = Field(None, description="where it is")
    links: Links


class EndpointFailing(EndpointData):
    """A warning: an endpoint has failed for 50, 75 or 90 % of the time after which it is disabled."""

    failing_since: Time = Field(description="its first failure since its last success")
    share: float = Field(description="of that time", json_schema_extra={"enum": [0.5, 0.75, 0.9]})
    disabled_at: Time = Field(description="when it will be disabled unless a delivery succeeds")
    last_error: Said = Field("", description="what its last try came to")


class EndpointDisabled(EndpointData):
    """An endpoint gets nothing any more until somebody resumes it; what comes for it is held."""

    reason: Literal["gone", "failing"] = Field(description="it answered 410, or has failed for too long")
    detail: str | None = Field(None, description="for people")
    failing_since: Time | None = Field(description="its first failure since its last success")


class EndpointRecovered(EndpointData):
    """An endpoint that failed or was disabled takes deliveries again."""

    failing_since: Time | None = Field(description="since when it had failed")


class DeliveryExhausted(EventData):
    """A delivery has used up its tries, or was given up: send it again, or recover all that failed since a time."""

    delivery_id: DeliveryId
    endpoint_id: EndpointId
    uid: str | None = Field(description="the team's own name of the endpoint")
    event_id: str = Field(pattern=r"^evt_[0-9a-z]{26}$", description="the event that was not delivered")
    event_type: str = Field(description="the type of that event")
    attempts: int = Field(description="tries that were made")
    last_status_code: int | None = Field(description="null when no answer came")
    last_error: Said = Field("", description="what its last try came to")
    links: Links


class WebhookTest(EventData):
    """Somebody asked for a test. It goes to one endpoint, whatever its filter says, and to no other."""

    endpoint_id: EndpointId
    message: str = Field(description="for people")


_ENDPOINT: Final[dict[str, Any]] = {
    "endpoint_id": ENDPOINT, "uid": "billing", "url": "https://receiver.example/hook",
    "links": {"self": f"/api/v1/webhook-endpoints/{ENDPOINT}"},
}  # fmt: skip

WEBHOOKS: Final = (
    EventType(
        name="webhook.endpoint.failing",
        model=EndpointFailing,
        example=_ENDPOINT
        | {"failing_since": MOMENT, "share": 0.5, "disabled_at": MOMENT, "last_error": "the answer was 500"},
    ),
    EventType(
        name="webhook.endpoint.disabled",
        model=EndpointDisabled,
        example=_ENDPOINT | {"reason": "gone", "detail": "the receiver answered 410", "failing_since": None},
    ),
    EventType(
        name="webhook.endpoint.recovered", model=EndpointRecovered, example=_ENDPOINT | {"failing_since": MOMENT}
    ),
    EventType(
        name="webhook.delivery.exhausted",
        model=DeliveryExhausted,
        example={
            "delivery_id": DELIVERY, "endpoint_id": ENDPOINT, "uid": "billing",
            "event_id": JOB.replace("job", "evt"), "event_type": "job.succeeded", "attempts": 10,
            "last_status_code": 500, "last_error": "the answer was 500",
            "links": {"self": f"/api/v1/webhook-deliveries/{DELIVERY}"},
        },
    ),
    EventType(
        name="webhook.test", model=WebhookTest, example={"endpoint_id": ENDPOINT, "message": "This is a test event."}
    ),
)  # fmt: skip
