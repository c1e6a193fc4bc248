"""From how tries went to what is written: pure decisions."""

from datetime import UTC, datetime

import pytest

from agora.webhooks.sender import Message, Try
from agora.webhooks.settling import Ended, Leased, decide, row_of
from agora.webhooks.signing import SigningKey
from agora.webhooks.states import DELIVERY_ENDED, TRANSITIONS, Algorithm, DeliveryState

SECRET = "whsec_c2VjcmV0"


def ended(status=None, *, attempt=1, pauses=(0, 10, 100), inline=False, retry_after=None):
    leased = Leased(
        id="whd_1", team_id="team_1", endpoint_id="whe_1", event_id="evt_1", event_type="job.failed", job_id=None,
        body="{}", full_payload=False, order_key=None, attempt=attempt, earlier_attempts=0, token="t", url="https://receiver.test/",
        headers={}, keys=[SECRET], pauses=pauses, inline=inline, uid=None, failing=False,
    )  # fmt: skip
    made = Try(started_at=datetime.now(UTC), status=status, retry_after=retry_after)
    return Ended(delivery=leased, attempt=made)


@pytest.mark.parametrize(
    ("try_", "state", "pause"),
    [
        (ended(204), DeliveryState.SUCCEEDED, None),
        (ended(204, attempt=3), DeliveryState.SUCCEEDED, None),
        (ended(500), DeliveryState.PENDING, 10),
        (ended(302, attempt=2), DeliveryState.PENDING, 100),
        (ended(None, attempt=3), DeliveryState.EXHAUSTED, None),
        (ended(429, retry_after="60"), DeliveryState.PENDING, 60),
        (ended(429, retry_after="-60"), DeliveryState.PENDING, 10),
        (ended(410), DeliveryState.HELD, 10),
        (ended(410, inline=True), DeliveryState.EXHAUSTED, None),
        (ended(410, attempt=3), DeliveryState.HELD, 0.0),
        (ended(410, attempt=3, inline=True), DeliveryState.EXHAUSTED, None),
    ],
)
def test_the_next_state_of_a_delivery(try_, state, pause):
    decided = decide(try_, rng=lambda: 0.5)
    assert decided == (state, pause)
    assert decided[0] in TRANSITIONS[DeliveryState.LEASED]


def test_every_state_can_reach_an_end():
    for state in DeliveryState:
        reached, found = {state}, set()
        while reached - found:
            found |= reached
            reached = {following for one in found for following in TRANSITIONS[one]} | found
        assert found & DELIVERY_ENDED


def test_secrets_are_in_no_row_and_in_no_repr():
    made = ended(200)
    assert SECRET not in str(row_of(made, *decide(made)))
    assert SECRET not in repr(made)
    message = Message(
        webhook_id="evt_1",
        url="u",
        body=b"",
        keys=(SigningKey(Algorithm.V1, b"topsecret"),),
        headers={"x-api-key": "topsecret"},
    )
    assert "topsecret" not in repr(message)
