"""The real Celery worker of the webhooks queue: rung over Valkey, drained by SIGTERM."""

import asyncio
import signal
import time

import pytest
from aiohttp import web

from agora import broker
from agora.clock import now
from agora.db.session import transaction
from agora.events.types import NewEvent
from agora.ids import new_id
from agora.webhooks import fan_out_queries, service
from agora.webhooks.types import DeliveryFilter, NewEndpoint
from tests.support.receiver import Receiver
from tests.support.webhooks import eventually
from tests.support.worker import celery

pytestmark = [
    pytest.mark.usefixtures("db"),
    pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning"),  # of Celery's own settings
]


@pytest.fixture
def worker():
    with celery(queues="webhooks", pool="threads", AGORA_DRAIN_SECONDS="3") as process:
        yield process


def publish(team, count=1):
    events = [NewEvent(type="job.failed", data={}) for _ in range(count)]
    with transaction() as session:
        made = fan_out_queries.fan_out(session, team_id=team, job_id=None, agent="a", events=events, occurred_at=now())
    assert made
    broker.ring_deliveries()


def test_a_ring_reaches_the_worker_and_sigterm_drains_it(worker):
    async def slowly(request):
        await asyncio.sleep(1.0)
        return web.Response(status=204)

    receiver, team = Receiver(), new_id("team")
    try:
        service.create_endpoint(NewEndpoint(url=receiver.url("/hook")), team_id=team)
        publish(team)
        eventually(lambda: len(receiver.got["/hook"]) == 1, seconds=30)
        start = time.monotonic()
        publish(team)
        eventually(lambda: len(receiver.got["/hook"]) == 2)
        assert receiver.got["/hook"][1][2] - start < 1.0
        receiver.behave("/hook", slowly)
        publish(team)
        eventually(lambda: receiver.under_way["/hook"] == 1)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        found = service.list_deliveries(DeliveryFilter(), team_id=team).items
        assert [one.status for one in found] == ["succeeded"] * 3
        assert len(receiver.got["/hook"]) == 3
    finally:
        receiver.close()
