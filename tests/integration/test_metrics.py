"""What every process counts is told by any of them, each number with the name of the process whose it is."""

import os
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agora import metrics
from agora.caching import link
from agora.settings import environment
from agora.telemetry import RINGS

pytestmark = pytest.mark.usefixtures("db")
RUNG = "agora_rings_total"
TELLS = """
from agora import metrics
from agora.telemetry import RINGS
RINGS.labels("told").inc(3)
metrics.tell(metrics.name_of("worker"))
print(metrics.name_of("worker"))
"""


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


def told_elsewhere():
    """The name of a process that has counted, told it, and ended."""
    done = subprocess.run([sys.executable, "-c", TELLS], env=environment(), capture_output=True, text=True, check=True)
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
    other = told_elsewhere()
    assert 0 < link.ask(lambda client: client.ttl(metrics.PREFIX + other)) <= metrics.KEEP_SECONDS
    link.ask(lambda client: client.delete(metrics.PREFIX + other))  # as when its time has run out
    assert rung(other) not in shown(app.test_client())
    assert link.ask(lambda client: client.smembers(metrics.NAMES)) == set()


def test_without_redis_there_are_those_of_the_process_that_is_asked(app, setting):
    other = told_elsewhere()
    RINGS.labels("told").inc()
    setting("REDIS_URL", "redis://127.0.0.1:1/0")
    metrics.tell(f"web-{os.getpid()}")  # nothing is raised
    found = shown(app.test_client())
    assert rung(other) not in found
    assert found[rung(metrics.name_of("web"))] >= 1
