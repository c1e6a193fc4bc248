"""What a receiver asks for with its status: redirects, Retry-After, 410 and 429, each within its bounds."""

import time
from datetime import timedelta
from email.utils import format_datetime

import pytest

from agora.clock import now
from agora.webhooks import service
from tests.support.hostile import EMPTY, always, drip, pour, say, stay
from tests.support.judging import (
    DEADLINE,
    MARGIN,
    PAUSE,
    SLOWS_DOWN,
    check_failed,
    check_kept,
    check_pause,
    endpoint,
    found,
    run,
    try_once,
)
from tests.support.webhooks import eventually

pytestmark = pytest.mark.usefixtures("db", "quiet", "calm")

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\n" + EMPTY
DAY = 24 * 3600.0
YEAR = 365 * DAY
QUARTER = 15 * 60.0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_what_looks_like_metadata_is_not_followed(team, hostile, engines, status):
    """Wherever it points, and however the place is written: the target hears nothing, not even a connection."""
    secrets = hostile.serve(stay(b"HTTP/1.1 200 OK\r\n" + EMPTY))
    there = f"127.0.0.1:{secrets.port}/latest/meta-data/iam"
    mapped = f"http://[::ffff:127.0.0.1]:{secrets.port}/latest"
    forms = (f"http://{there}", f"//{there}", f"http://user:pass@{there}", mapped, "/")
    made = {}
    for form in forms:
        lines = f"Location: {form}\r\nRefresh: 0; url=http://{there}\r\nContent-Location: {form}\r\n".encode()
        server = hostile.serve(stay(b"HTTP/1.1 %d Over There\r\n" % status + lines + EMPTY))
        made[form] = endpoint(team, server.url()), server
    team.happen()
    run(engines(timeout=DEADLINE), count=len(forms))
    for form, (endpoint_id, server) in made.items():
        check_failed(found(team, endpoint_id), status, "status", f"answered {status} and is not followed")
        assert (server.connections, len(server.requests)) == (1, 1), form
    assert (secrets.connections, secrets.requests) == (0, [])


def asking(status, *values):
    """An answer that asks to come back later."""
    lines = "".join(f"Retry-After: {value}\r\n" for value in values).encode()
    return stay(b"HTTP/1.1 %d Later\r\n" % status + lines + EMPTY)


def asked_for(moment):
    """The headers, and the seconds that they ask for; None: nothing that counts."""

    def date(seconds):
        return format_datetime(moment + timedelta(seconds=seconds), usegmt=True)

    return {
        "seconds": (["3600"], 3600.0),
        "nothing": ([], None),
        "no time": (["0"], None),
        "less than the schedule": (["5"], None),
        "a year": ([f"{YEAR:.0f}"], DAY),
        "an age": (["9" * 400], DAY),
        "a date": ([date(3600)], 3600.0),
        "a date in a year": ([date(YEAR)], DAY),
        "a date that has passed": ([date(-3600)], None),
        "a date as C writes it": ([(moment + timedelta(seconds=3600)).strftime("%a %b %d %H:%M:%S %Y")], 3600.0),
        "an old kind of date": ([(moment + timedelta(seconds=3600)).strftime("%A, %d-%b-%y %H:%M:%S GMT")], 3600.0),
        "negative": (["-3600"], None),
        "a fraction": (["3600.5"], None),
        "hexadecimal": (["0xE10"], None),
        "foreign digits": (["٣٦٠٠"], None),
        "junk": (["soon"], None),
        "an impossible date": (["Mon, 99 Foo 99999 99:99:99 GMT"], None),
        "several": (["60", "7200", "soon", "3600"], 7200.0),
        "several, one capped": (["60", f"{YEAR:.0f}"], DAY),
    }


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_retry_after_is_never_undercut_and_capped_at_a_day(team, hostile, engines, status):
    """500 may ask as well: then only its delivery waits. The others rest the endpoint too, for 15 minutes at most."""
    moment = now().replace(microsecond=0)
    asked, made, date = asked_for(moment), {}, moment + timedelta(seconds=3600)
    for name, (values, _) in asked.items():
        made[name] = endpoint(team, hostile.serve(asking(status, *values)).url())
    team.happen()
    run(engines(timeout=DEADLINE), count=len(asked))
    for name, (_, seconds) in asked.items():
        tried = found(team, made[name])
        assert (tried.delivery.status, tried.delivery.last_status_code) == ("pending", status), name
        if seconds is None:
            check_pause(tried, 0.8 * PAUSE, 1.2 * PAUSE)
        elif "date" in name and seconds < DAY:  # written some time before the try, and to the second
            check_pause(tried, seconds - 2 * MARGIN, seconds)
            assert tried.delivery.next_attempt_at >= date
        else:
            check_pause(tried, seconds, seconds)
        check_kept(tried)
        rests = tried.endpoint.open_until
        if status == 500 or (seconds is None and name != "less than the schedule"):
            assert rests is None, name
        else:
            assert now() < rests <= now() + timedelta(seconds=min(seconds or 5.0, QUARTER)), name


def test_retry_after_on_a_success_or_without_tries_left_changes_nothing(team, hostile, engines):
    done = endpoint(team, hostile.serve(asking(200, "3600")).url())
    spent = endpoint(team, hostile.serve(asking(503, "3600")).url(), schedule=(0.0,))
    team.happen()
    run(engines(timeout=DEADLINE), count=2)
    assert found(team, done).delivery.status == "succeeded"
    assert found(team, done).endpoint.open_until is None
    assert found(team, spent).delivery.status == "exhausted"
    assert found(team, spent).delivery.next_attempt_at is None


CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
REFUSALS = {
    "said whole": (stay, None),
    "body cut short": (lambda head: say(head + b"Content-Length: 100\r\n\r\nhalf"), "disconnected"),
    "body that drips": (lambda head: drip(head + b"Content-Length: 1000\r\n\r\n", b"x" * 1000), "timeout"),
    "body without end": (lambda head: pour(head + b"\r\n", b"x" * 2**16), None),
    "unreadable chunks": (lambda head: stay(head + CHUNKS, b"zz\r\n"), "protocol"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_410_disables_the_endpoint_and_holds_what_it_has(team, hostile, engines, name):
    """The head is enough: what becomes of the body of a refusal does not matter."""
    behave, error_class = REFUSALS[name]
    head = b"HTTP/1.1 410 Gone\r\n"
    server = hostile.serve(stay(head + EMPTY) if behave is stay else behave(head))
    other = hostile.serve(always(NO_CONTENT))
    gone = endpoint(team, server.url(), max_in_flight=1)
    endpoint(team, other.url())
    team.happen(count=3)
    engine = engines(timeout=DEADLINE)
    run(engine, count=4)
    left = sorted((one.status, one.attempt) for one in team.deliveries(endpoint=gone))
    assert left == [("held", 0), ("held", 0), ("held", 1)]
    [tried] = [one for one in team.deliveries(endpoint=gone) if one.attempts]
    assert (tried.last_status_code, tried.attempts[0].status_code) == (410, 410)
    assert tried.attempts[0].error_class == (error_class or "status")
    disabled = service.get_endpoint(gone, team_id=team.id)
    assert (disabled.status, disabled.status_reason) == ("disabled", "the receiver answered 410 Gone")
    team.happen()
    run(engine, count=1)
    assert team.statuses(endpoint=gone) == ["held"] * 4
    assert len(server.requests) == 1
    eventually(lambda: len(other.requests) == 4)


@pytest.mark.parametrize("name", [name for name in REFUSALS if name != "said whole"])
def test_a_refusal_for_now_counts_from_its_head_on(team, hostile, engines, name):
    behave, error_class = REFUSALS[name]
    made = {}
    for status in SLOWS_DOWN:
        server = hostile.serve(behave(b"HTTP/1.1 %d Not Now\r\nRetry-After: 3600\r\n" % status))
        made[status] = endpoint(team, server.url())
    team.happen()
    run(engines(timeout=DEADLINE), count=len(made))
    for status, endpoint_id in made.items():
        tried = found(team, endpoint_id)
        assert (tried.delivery.status, tried.delivery.last_status_code) == ("pending", status)
        assert (tried.attempt.status_code, tried.attempt.error_class) == (status, error_class or "status")
        check_pause(tried, 3600.0, 3600.0)
        assert tried.endpoint.consecutive_failures == 1


@pytest.mark.parametrize("name", [name for name in REFUSALS if name not in {"said whole", "body without end"}])
def test_any_other_status_needs_its_whole_answer(team, hostile, engines, name):
    """Else an endpoint could hold every try up to the deadline, and never be blamed for it."""
    behave, error_class = REFUSALS[name]
    tried = try_once(team, engines(timeout=DEADLINE), hostile.serve(behave(b"HTTP/1.1 500 No\r\n")).url())
    check_failed(tried, None, error_class, "")


def test_a_storm_of_429_rests_its_endpoint_and_nobody_else(team, hostile, engines):
    """The storm's own deliveries wait without spending tries; another endpoint gets all of its own meanwhile."""
    stormy, healthy = hostile.serve(always(TOO_MANY)), hostile.serve(always(NO_CONTENT))
    made = endpoint(team, stormy.url(), schedule=(0.0,) * 10)
    well = endpoint(team, healthy.url())
    engine = engines(timeout=DEADLINE)
    engine.start()
    for _ in range(5):
        team.happen(count=20)
        engine.ring()
    eventually(lambda: set(team.statuses(endpoint=well)) == {"succeeded"})
    eventually(lambda: service.get_endpoint(made, team_id=team.id).open_until and "leased" not in team.statuses())
    deliveries = team.deliveries(endpoint=made)
    assert {one.status for one in deliveries} == {"pending"}
    tries = sum(len(one.attempts) for one in deliveries)
    assert sum(one.attempt for one in deliveries) == tries == len(stormy.requests)
    assert 5 <= tries <= 16
    assert sum(one.attempt == 0 for one in deliveries) >= 84
    rests = service.get_endpoint(made, team_id=team.id)
    assert timedelta(seconds=20) < rests.open_until - now() <= timedelta(seconds=30)
    settled = len(stormy.requests)
    team.happen(count=20)
    engine.ring()
    eventually(lambda: len(healthy.requests) == 120)
    assert len(stormy.requests) == settled


def test_others_are_served_while_every_kind_of_trouble_is_under_way(team, hostile, engines):
    """Twelve endpoints that hang or flood, and one that is well: it has all its events before any of those gives up."""
    troubles = [
        hostile.serve(behave)
        for behave in (
            *(drip(b"HTTP/1.1 200 OK\r\n", b"x" * 1000) for _ in range(6)),
            *(pour(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000) for _ in range(3)),
            *(pour(b"", b"\r\n" * 2**15) for _ in range(3)),
        )
    ]
    for server in troubles:
        endpoint(team, server.url())
    healthy = hostile.serve(always(NO_CONTENT))
    well = endpoint(team, healthy.url())
    engine = engines(timeout=5 * DEADLINE)
    engine.start()
    start = time.monotonic()
    team.happen(count=20)
    engine.ring()
    eventually(lambda: team.statuses(endpoint=well) == ["succeeded"] * 20)
    assert time.monotonic() - start < 5 * DEADLINE
    assert len(team.statuses(statuses=("leased",))) >= 6
