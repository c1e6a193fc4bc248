"""What several of these tests need: a receiver, a team, engines that are stopped at the end."""

import logging

import pytest
import structlog

from agora import broker
from agora.webhooks.delivery import DeliveryEngine
from tests.support.hostile import Hostile
from tests.support.receiver import Receiver
from tests.support.webhooks import Team


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def hostile():
    made = Hostile()
    yield made
    made.close()


@pytest.fixture
def calm(caplog):
    """Whatever a receiver does, nobody is woken: neither we nor a library log a warning or worse."""
    with structlog.testing.capture_logs() as ours:
        yield
    grave = [line for line in ours if line["log_level"] in {"warning", "error", "critical"}]
    for phase in ("setup", "call"):
        grave += [record.getMessage() for record in caplog.get_records(phase) if record.levelno >= logging.WARNING]
    assert grave == []


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(broker, "ring_deliveries", lambda: True)


@pytest.fixture
def engines():
    """Makes engines that are stopped at the end."""
    made = []

    def make(**options):
        made.append(DeliveryEngine(**{"timeout": 5.0} | options))
        return made[-1]

    yield make
    for engine in made:
        engine.stop(0)


@pytest.fixture
def team():
    return Team()
