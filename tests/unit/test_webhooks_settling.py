"""From how tries went to what is written: pure decisions."""

from datetime import UTC, datetime

import pytest

from agora.webhooks.schedule import BREAKER_THRESHOLD
from agora.webhooks.sender import Message, Try
from agora.webhooks.settling import Ended, Leased, decide, note_of, row_of
from agora.webhooks.states import DELIVERY_ENDED, TRANSITIONS, DeliveryState

SECRET = "whsec_c2VjcmV0"


def ended(status=None, *, attempt=1, pauses=(0, 10, 100), inline=False, retry_after=None):
    leased = Leased(
        id="whd_1", team_id="team_1", endpoint_id="whe_1", event_id="evt_1", event_type="job.failed", body="{}",
        attempt=attempt, token="t", url="https://receiver.test/", headers={}, secrets=[SECRET], pauses=pauses,
        inline=inline,
    )  # fmt: skip
    made = Try(started_at=datetime.now(UTC), status=status, retry_after=retry_after)
    return Ended(delivery=leased, attempt=made)


def endpoint(failures=0, *, resting=False):
    return {"id": "whe_1", "status": "active", "consecutive_failures": failures, "resting": resting}


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
        (ended(410, attempt=3), DeliveryState.EXHAUSTED, None),
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


def test_one_outage_counts_once_however_many_tries_were_under_way():
    note = note_of(endpoint(), [ended() for _ in range(32)])
    assert (note["failures"], note["rest"]) == (BREAKER_THRESHOLD, 30)


def test_after_its_rest_each_failed_probe_doubles_the_next():
    assert note_of(endpoint(BREAKER_THRESHOLD), [ended()])["rest"] == 60
    assert note_of(endpoint(BREAKER_THRESHOLD + 1), [ended()])["rest"] == 120


def test_while_it_rests_nothing_is_added():
    note = note_of(endpoint(BREAKER_THRESHOLD, resting=True), [ended(), ended()])
    assert (note["failures"], note["rest"]) == (BREAKER_THRESHOLD, None)


def test_an_answer_of_any_kind_ends_the_run_but_only_2xx_is_health():
    refused = note_of(endpoint(4), [ended(), ended(500)])
    assert (refused["failures"], refused["rest"], refused["healthy"]) == (0, None, False)
    well = note_of(endpoint(7), [ended(), ended(200)])
    assert (well["failures"], well["healthy"], well["delivered"]) == (0, True, True)


def test_being_asked_to_slow_down_rests_the_endpoint():
    assert note_of(endpoint(), [ended(429, retry_after="45")])["rest"] == 45
    assert note_of(endpoint(), [ended(503)])["rest"] is None
    assert note_of(endpoint(), [ended(500, retry_after="45")])["rest"] is None


def test_410_disables():
    assert note_of(endpoint(), [ended(410)])["gone"]
    assert not note_of(endpoint(), [ended(404)])["gone"]


def test_secrets_are_in_no_row_and_in_no_repr():
    made = ended(200)
    assert SECRET not in str(row_of(made))
    assert SECRET not in repr(made)
    message = Message(webhook_id="evt_1", url="u", body=b"", keys=(b"topsecret",), headers={"x-api-key": "topsecret"})
    assert "topsecret" not in repr(message)
