"""Rings are written without kombu, and kombu reads them as its own."""

import base64
import json

import pytest
from kombu import Connection

from agora import broker, letters, valkey
from agora.broker import Ring

RINGS = [
    Ring(step_id=f"stp_{n}", job_id=f"job_{n}", queue=queue, label='probe."double".é', timeout=3.5, hops=n)
    for n, queue in enumerate(["cpu", "io", "cpu"])
]


@pytest.fixture
def redis(environment):
    client = valkey.client(environment["REDIS_URL"])
    client.delete("cpu", "io")
    broker._mute._until = 0.0
    yield client
    client.delete("cpu", "io")
    client.close()


def read(redis, queue):
    message = json.loads(redis.rpop(queue))
    message["properties"].pop("delivery_tag")
    return message | {"body": json.loads(base64.b64decode(message["body"]))}


def test_a_letter_is_what_kombu_would_have_written(redis, monkeypatch):
    assert broker.ring(RINGS)
    lean = [read(redis, queue) for queue in ("cpu", "cpu", "io")]
    monkeypatch.setattr(letters, "client_of", lambda _url: None)
    assert broker.ring(RINGS)
    whole = [read(redis, queue) for queue in ("cpu", "cpu", "io")]
    for one in [*lean, *whole]:
        del one["headers"]["argsrepr"]  # for people's eyes
    assert lean == whole
    assert [one["body"][0] for one in lean] == [["stp_0"], ["stp_2", 2], ["stp_1", 1]]
    assert [one["headers"]["timelimit"] for one in lean] == [[8.5, 3.5], [8.5, 3.5], [None, None]]


def test_kombu_hands_letters_out_in_the_order_of_their_rings_each_under_a_tag_of_its_own(redis, environment):
    assert broker.ring([Ring(step_id=f"stp_{n}", job_id="job_1", queue="cpu", label="a.b.c") for n in range(3)])
    with Connection(environment["REDIS_URL"]) as connection, connection.SimpleQueue("cpu") as queue:
        found = [queue.get(timeout=5) for _ in range(3)]
        for one in found:
            one.ack()
    assert [one.payload[0] for one in found] == [["stp_0"], ["stp_1"], ["stp_2"]]
    assert len({one.delivery_tag for one in found}) == 3
    assert {one.headers["shadow"] for one in found} == {"a.b.c"}


def test_rings_of_a_queue_go_out_together(redis):
    broker.ring(RINGS)
    before = redis.info("commandstats")["cmdstat_lpush"]["calls"]
    assert broker.ring([Ring(step_id=f"stp_{n}", job_id="job_1", queue="cpu", label="a.b.c") for n in range(20)])
    assert redis.info("commandstats")["cmdstat_lpush"]["calls"] == before + 1
    assert redis.llen("cpu") == 22


@pytest.mark.parametrize(
    ("url", "lean"),
    [
        ("redis://127.0.0.1:1/0", True),
        ("sentinel://127.0.0.1:1;sentinel://127.0.0.1:2", True),
        ("rediss://127.0.0.1:1/0?ssl_cert_reqs=CERT_REQUIRED", False),
        ("amqp://127.0.0.1//", False),
    ],
)
def test_what_only_kombu_understands_is_left_to_it(url, lean):
    assert (letters.client_of(url) is not None) == lean


def test_nobody_waits_for_a_broker_that_is_away(redis, monkeypatch):
    waits = []
    monkeypatch.setattr("redis.retry.sleep", waits.append)
    monkeypatch.setattr(letters.transport, "broker_url", lambda: "redis://127.0.0.1:1/0")
    asked = letters.client_of.cache_info()
    assert not broker.ring(RINGS)
    assert not broker.ring(RINGS[:1])  # nobody tries again for a while
    assert letters.client_of.cache_info().hits + letters.client_of.cache_info().misses == asked.hits + asked.misses + 1
    assert not waits
    broker._mute._until = 0.0
