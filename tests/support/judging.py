"""One event to one endpoint, tried once; and what must hold of whatever came of it."""

import time
from dataclasses import dataclass
from datetime import timedelta

from agora.webhooks import service
from agora.webhooks.redaction import MAX_HEADERS, MAX_VALUE
from agora.webhooks.sender import MAX_BODY
from agora.webhooks.types import Delivery, DeliveryAttempt, Endpoint

DEADLINE = 2.0
"""Seconds for one try in these tests."""
MARGIN = 4.0
"""Seconds more that this machine may take, for claiming, settling, and what else runs on it."""
PAUSE = 60.0
SLOWS_DOWN = {429, 502, 503, 504}


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What is recorded of one try."""

    delivery: Delivery
    endpoint: Endpoint
    attempt: DeliveryAttempt


def endpoint(team, url, *, schedule=(0.0, PAUSE), event_types=("job.*",), **options):
    """A new endpoint, by its id. It hears nothing of what becomes of others."""
    return team.endpoint(url, schedule=schedule, event_types=event_types, **options).endpoint.id


def run(engine, *, count):
    """Let the engine try what is due; it must be done within its deadline."""
    start = time.monotonic()
    assert engine.run_once() == count
    assert time.monotonic() - start < DEADLINE + MARGIN


def try_once(team, engine, url, *, data=None, **options):
    """Send one event to a new endpoint."""
    made = endpoint(team, url, **options)
    team.happen(data=data)
    run(engine, count=1)
    return found(team, made)


def found(team, endpoint_id):
    """The only delivery of an endpoint, with its only try."""
    [delivery] = team.deliveries(endpoint=endpoint_id)
    [attempt] = delivery.attempts
    return Tried(delivery=delivery, endpoint=service.get_endpoint(endpoint_id, team_id=team.id), attempt=attempt)


def check_delivered(tried, code):
    """It is delivered, and the endpoint is well."""
    delivery, endpoint, attempt = tried.delivery, tried.endpoint, tried.attempt
    assert (attempt.status_code, attempt.error_class, attempt.error) == (code, None, None)
    assert (delivery.status, delivery.last_status_code, delivery.last_error) == ("succeeded", code, None)
    assert delivery.ended_at is not None
    assert delivery.next_attempt_at is None
    assert attempt.delivered
    assert endpoint.last_success_at is not None
    assert (endpoint.failing_since, endpoint.consecutive_failures) == (None, 0)
    check_kept(tried)


def check_failed(tried, code, error_class, says, *, pause=PAUSE):
    """It waits for its next try, in the time that the schedule says; the endpoint is blamed for what it is to blame."""
    delivery, endpoint, attempt = tried.delivery, tried.endpoint, tried.attempt
    assert (attempt.status_code, attempt.error_class) == (code, error_class), attempt.error
    assert says in attempt.error, attempt.error
    assert (delivery.status, delivery.last_status_code, delivery.last_error) == ("pending", code, attempt.error)
    assert not attempt.delivered
    assert delivery.ended_at is None
    check_pause(tried, 0.8 * pause, 1.2 * pause)
    blamed = code is None or code in SLOWS_DOWN
    assert endpoint.consecutive_failures == int(blamed)
    assert endpoint.last_success_at is None
    assert endpoint.failing_since is not None
    check_kept(tried)


def check_pause(tried, least, most):
    """The next try is due so many seconds after this one ended, or a little later: settling takes a moment."""
    ended = tried.attempt.started_at + timedelta(milliseconds=tried.attempt.duration_ms)
    pause = (tried.delivery.next_attempt_at - ended).total_seconds()
    assert least <= pause <= most + MARGIN


def check_kept(tried):
    """Whatever came: one try was made of one delivery, in bounded time, and little of it is kept."""
    delivery, endpoint, attempt = tried.delivery, tried.endpoint, tried.attempt
    assert (delivery.attempt, attempt.number) == (1, 1)
    assert (endpoint.status, endpoint.status_reason) == ("active", None)
    assert attempt.duration_ms <= (DEADLINE + MARGIN) * 1000
    stages = [attempt.timings[name] for name in ("dns", "connect", "first_byte") if name in attempt.timings]
    assert stages == sorted(stages)
    assert all(0 < stage <= attempt.duration_ms + 1 for stage in stages)
    assert attempt.request_headers["webhook-id"] == delivery.event_id
    assert len(attempt.response_body or "") <= MAX_BODY
    for headers in (attempt.request_headers, attempt.response_headers or {}):
        assert len(headers) <= MAX_HEADERS
        assert all(len(value) <= MAX_VALUE for value in headers.values())
