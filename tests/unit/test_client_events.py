"""The event stream of the Python client: each event once, whatever cuts it, and an end that its caller can tell."""

import json
import time
from collections.abc import Iterator

import pytest

from agora.client import Agora, ApiError, Unreachable
from agora.client.retries import TRIES
from api.v1.events import NO_RETRY_MS
from tests.support.answering import Told, event, streamed

ALIVE = b": still here\n\n"
LAST = event(3, "job.succeeded")
JOB = Told(body=json.dumps({"id": "job_1", "status": "succeeded"}).encode())


def read(events: Iterator):
    return [one["seq"] for one in events]


def resumed(server):
    return [headers["Last-Event-ID"] for _, _, headers in server.asked]


def test_a_stream_is_resumed_where_it_was_cut_also_within_an_event(server, api):
    within = event(2)[:-20]
    server.answers += [streamed(event(1), within, cut=True), streamed(within), Told(status=0), streamed(event(2), LAST)]
    assert read(api.events("job_1")) == [1, 2, 3]
    assert resumed(server) == ["0", "1", "1", "1"]


def test_a_busy_server_is_asked_again_when_it_says(server, api):
    server.answers += [Told(status=503, headers={"Retry-After": "7"}), Told(status=502), streamed(event(1), LAST)]
    assert read(api.events("job_1")) == [1, 3]
    assert api.rests == [7.0, 1.0]


def test_a_busy_server_is_given_up_with_what_it_said(server, api):
    server.answers += [Told(status=503)] * 9
    with pytest.raises(ApiError) as busy:
        api.wait("job_1")
    assert (busy.value.status, len(server.asked)) == (503, TRIES)
    server.answers[:] = [Told(status=429, headers={"Retry-After": "86400"})]
    with pytest.raises(ApiError) as full:
        api.wait("job_1")
    assert (full.value.status, len(server.asked)) == (429, TRIES + 1)


def test_a_refusal_is_no_cut(server, api):
    server.answers += [streamed(event(1)), Told(status=401)]
    with pytest.raises(ApiError) as refused:
        read(api.events("job_1"))
    assert (refused.value.status, len(server.asked)) == (401, 2)


def test_a_restart_is_outlived(server, api):
    """A cut, then nobody listens for a while."""
    there = api._parsed

    def restart():
        api._parsed = there._replace(netloc="127.0.0.1:9")
        yield
        yield
        api._parsed = there
        yield

    api.meanwhile = restart()
    server.answers += [streamed(event(1)), streamed(event(2), LAST), JOB]
    assert api.wait("job_1")["status"] == "succeeded"
    assert api.rests == [0.25, 1.0, 4.0]


def test_a_server_that_stays_away_is_unreachable(server, api):
    api._parsed = api._parsed._replace(netloc="127.0.0.1:9")
    with pytest.raises(Unreachable):
        api.wait("job_1")
    assert api.rests == [0.25, 1.0, 4.0, 10.0]


def test_streams_that_say_nothing_are_given_up(server, api):
    server.answers += [streamed()] * (TRIES + 1)
    with pytest.raises(Unreachable, match="cut the events of job_1"):
        read(api.events("job_1"))
    assert len(server.asked) == TRIES


def test_who_says_that_they_are_still_there_is_not_given_up(server, api):
    """A proxy cuts every stream after a while, and the job is quiet for long."""
    server.answers += [streamed(ALIVE)] * (3 * TRIES) + [streamed(event(1))] + [streamed()] * (TRIES - 2)
    server.answers += [streamed(LAST)]
    assert read(api.events("job_1")) == [1, 3]


def test_a_stream_that_says_not_to_come_again_has_ended(server, api):
    server.answers += [streamed(f"retry: {NO_RETRY_MS}\n\n".encode())] * 2 + [JOB]
    assert read(api.events("job_1", after=3)) == []
    assert api.wait("job_1")["status"] == "succeeded"
    assert [path for _, path, _ in server.asked] == ["/api/v1/jobs/job_1/events"] * 2 + ["/api/v1/jobs/job_1"]
    assert api.rests == []


def test_a_deadline_goes_before_what_is_asked(server):
    server.answers += [Told(status=503, headers={"Retry-After": "60"})]
    began = time.monotonic()
    with Agora(server.url, "agora_key") as api, pytest.raises(TimeoutError, match="job_1 has not ended in time"):
        api.wait("job_1", 0.2)
    assert 0.2 <= time.monotonic() - began < 20
    assert len(server.asked) == 1
