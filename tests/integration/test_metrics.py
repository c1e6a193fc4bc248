"""What every process counts is told by any of them, each number with the name of the process whose it is."""

import os
import signal
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agora import metrics
from agora.caching import generations, link
from agora.quotas import daily
from agora.settings import environment
from agora.telemetry import RINGS
from tests.support.web import gunicorn
from tests.support.webhooks import eventually
from tests.support.worker import celery

pytestmark = pytest.mark.usefixtures("db")
RUNG = "agora_rings_total"
TELLS = """
from agora import metrics
from agora.telemetry import RINGS
RINGS.labels("told").inc(3)
metrics.tell(metrics.name_of("worker"))
print(metrics.name_of("worker"))
"""
ENDS = (
    TELLS
    + """
RINGS.labels("told").inc(4)
metrics.tell_last("worker")
"""
)


@pytest.fixture(autouse=True)
def nothing_told():
    link.forget()
    link.ask(lambda client: client.delete(metrics.NAMES))


def shown(client):
    """Samples of /metrics, by name and labels."""
    text = client.get("/metrics").text
    return {
        (one.name, *sorted(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def told_elsewhere(program=TELLS):
    """The name of a process that has counted, told it, and ended."""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def rung(process):
    return (RUNG, ("outcome", "told"), ("process", process))


def test_any_process_tells_what_each_counts(app):
    RINGS.labels("told").inc()
    other, own = told_elsewhere(), metrics.name_of("web")
    found = shown(app.test_client())
    assert found[rung(other)] == 3
    assert found[rung(own)] == RINGS.labels("told")._value.get()
    for process in (other, own):
        assert found["process_resident_memory_bytes", ("process", process)] > 1_000_000
    assert not [name for name, *_ in found if name.endswith("_created")]


def test_each_metric_is_described_once(app):
    told_elsewhere()
    lines = [line for line in app.test_client().get("/metrics").text.splitlines() if line.startswith("# TYPE")]
    assert len(lines) == len({line.split()[2] for line in lines}) > 10


def test_who_tells_nothing_any_more_is_forgotten(app):
    """At once what it measured, and what it counted after two scrapes."""
    other = told_elsewhere()
    counted, measured = (
        link.ask(lambda client, key=prefix + other: client.ttl(key)) for prefix in (metrics.COUNTED, metrics.MEASURED)
    )
    assert 0 < measured <= metrics.MEASURED_SECONDS < 120 < counted <= metrics.COUNTED_SECONDS
    link.ask(lambda client: client.delete(metrics.MEASURED + other))  # as when its time has run out
    found = shown(app.test_client())
    assert found[rung(other)] == 3
    assert ("process_resident_memory_bytes", ("process", other)) not in found
    link.ask(lambda client: client.delete(metrics.COUNTED + other))
    assert rung(other) not in shown(app.test_client())
    assert names() == set()


def names():
    return {name.decode() for name in link.ask(lambda client: client.zrange(metrics.NAMES, 0, -1))}


def test_those_that_are_gone_are_forgotten_also_without_a_scraper(db):
    old = {f"worker-gone-{number}": 1_000_000 for number in range(300)}
    link.ask(lambda client: client.zadd(metrics.NAMES, old))
    metrics.tell("worker-here-1")
    assert names() == {"worker-here-1"}
    assert 0 < link.ask(lambda client: client.ttl(metrics.NAMES)) <= metrics.COUNTED_SECONDS


def test_what_a_process_has_counted_is_told_when_it_ends_and_what_it_measured_is_not(app):
    other = told_elsewhere(ENDS)
    found = shown(app.test_client())
    assert found[rung(other)] == 7
    assert found["process_cpu_seconds_total", ("process", other)] > 0
    assert ("process_resident_memory_bytes", ("process", other)) not in found


def kept(name):
    return link.ask(lambda client: client.exists(metrics.COUNTED + name, metrics.MEASURED + name))


def test_workers_and_their_children_tell_when_they_end(db):
    with celery(queues="cpu", pool="prefork") as worker:
        eventually(lambda: len(names()) == 3, seconds=60.0)
        told = names()
        assert {kept(name) for name in told} == {2}
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30.0) == 0
    assert {name: kept(name) for name in told} == dict.fromkeys(told, 1)


def test_web_processes_tell_when_they_end(db, tmp_path):
    with gunicorn(tmp_path / "log", AGORA_WEB_PROCESSES="1"):
        eventually(lambda: len(names()) == 1, seconds=30.0)
        (name,) = names()
        assert kept(name) == 2
    assert kept(name) == 1


def test_an_idle_process_makes_up_for_what_it_owes(db, monkeypatch):
    """It has no request of its own by which it would, and others go by what Redis says."""
    monkeypatch.setattr(metrics, "EVERY_SECONDS", 0.02)
    failed, make_up = [], daily.make_up

    def fails_at_first():
        make_up()
        if not failed:
            failed.append(1)
            raise RuntimeError("once")

    monkeypatch.setattr(daily, "make_up", fails_at_first)
    teller = metrics.start_telling("idle")
    try:
        for _ in range(2):
            generations._owed["x"] = object()
            daily._uncounted["agora:jobs-of-day:x"] = object()
            eventually(lambda: not generations._owed and not daily._uncounted)
    finally:
        metrics.tell_last("idle")
        teller.join(10.0)
    assert failed
    assert not teller.is_alive()


def test_without_redis_there_are_those_of_the_process_that_is_asked(app, setting):
    other = told_elsewhere()
    RINGS.labels("told").inc()
    setting("REDIS_URL", "redis://127.0.0.1:1/0")
    metrics.tell(f"web-{os.getpid()}")  # nothing is raised
    found = shown(app.test_client())
    assert rung(other) not in found
    assert found[rung(metrics.name_of("web"))] >= 1
