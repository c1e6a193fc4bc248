"""What passes through Redis: ids, so that whoever reads it learns of no job, document or person what they do."""

import threading

import pytest

from agora import broker, valkey
from agora.jobs import catalogue
from tests.support.caller import Caller
from tests.support.probe import probe
from tests.support.webhooks import eventually

SECRET = "the-quick-brown-secret"


@pytest.fixture
def heard(environment):
    """Every command that Redis gets meanwhile."""
    client = valkey.client(environment["REDIS_URL"])
    lines, ready, over = [], threading.Event(), threading.Event()

    def listen():
        with client.monitor() as monitor:
            ready.set()
            for command in monitor.listen():
                lines.append(command["command"])
                if over.is_set():
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert ready.wait(10)
    yield lines
    over.set()
    client.ping()
    thread.join(10)
    client.close()


def test_a_message_of_a_job_has_its_ids_and_nothing_of_what_it_says(app, heard):
    broker._mute._until = 0.0
    catalogue.register_worker(list(probe.actions.values()), worker_id="wrk_1", hostname="here", pid=1)
    caller = Caller(app)
    body = {"agent": "probe", "action": "double", "input": {"n": 1}, "metadata": {"who": SECRET}}
    made = caller.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": SECRET})
    assert made.status_code == 202
    eventually(lambda: any(made.json["id"] in line for line in heard))
    assert not [line for line in heard if SECRET in line or caller.key in line]
