"""Rings are written without kombu, and kombu reads them as its own."""

import base64
import json
import os
import signal

import pytest
from kombu import Connection
from prometheus_client import REGISTRY

from agora import broker, messages, valkey
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


def test_a_message_is_what_kombu_would_have_written(redis, monkeypatch):
    assert broker.ring(RINGS)
    lean = [read(redis, queue) for queue in ("cpu", "cpu", "io")]
    monkeypatch.setattr(messages, "client_of", lambda _url: None)
    assert broker.ring(RINGS)
    whole = [read(redis, queue) for queue in ("cpu", "cpu", "io")]
    for one in [*lean, *whole]:
        del one["headers"]["argsrepr"]  # for people's eyes
    assert lean == whole
    assert [one["body"][0] for one in lean] == [["stp_0"], ["stp_2", 2], ["stp_1", 1]]
    assert [one["headers"]["timelimit"] for one in lean] == [[8.5, 3.5], [8.5, 3.5], [None, None]]


def test_kombu_hands_messages_out_in_the_order_of_their_rings_each_under_a_tag_of_its_own(redis, environment):
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
        ("redis://user:p%40ss@127.0.0.1:1/7", True),
        ("redis://127.0.0.1:1/4;redis://127.0.0.1:2/4", False),
        ("redis://127.0.0.1:1/0?socket_timeout=1", False),
        ("sentinel://127.0.0.1:1;sentinel://127.0.0.1:2", False),
        ("rediss://127.0.0.1:1/0", False),
        ("redis://127.0.0.1:port/0", False),
        ("amqp://127.0.0.1//", False),
    ],
)
def test_messages_go_where_kombu_looks_for_them_or_by_kombu(url, lean):
    client = messages.client_of(url)
    assert (client is not None) == lean
    if client is not None:
        ours, theirs = client.connection_pool.connection_kwargs, Connection(url)
        assert (ours["host"], ours["port"], ours["db"]) == ("127.0.0.1", 1, int(theirs.virtual_host))
        assert (ours.get("username"), ours.get("password")) == (theirs.userid, theirs.password)


def test_nobody_waits_for_a_broker_that_is_away(redis, monkeypatch):
    waits = []
    monkeypatch.setattr("redis.retry.sleep", waits.append)
    monkeypatch.setattr(messages.transport, "broker_url", lambda: "redis://127.0.0.1:1/0")
    muted = REGISTRY.get_sample_value("agora_rings_total", {"outcome": "muted"}) or 0
    assert not broker.ring(RINGS)
    assert not broker.ring(RINGS[:1])  # nobody tries again for a while
    assert REGISTRY.get_sample_value("agora_rings_total", {"outcome": "muted"}) == muted + 1
    assert not waits
    broker._mute._until = 0.0


def test_a_broker_that_froze_hears_no_answer_of_before(own_valkey, monkeypatch):
    monkeypatch.setattr(messages.transport, "SOCKET_SECONDS", 0.2)
    broker._mute._until = 0.0
    assert broker.ring(RINGS[:1])
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        assert not broker.ring(RINGS[:1])
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    broker._mute._until = 0.0
    client = messages.client_of(own_valkey.url)
    assert client.llen("cpu") in {1, 2}  # the ring that timed out is heard as well
    before = client.llen("cpu")
    assert client.lpush("cpu", "one") == before + 1
