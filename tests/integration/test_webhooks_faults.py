"""Faults of our own in the middle of sending: what is under way goes on, and goes out once."""

import asyncio
import threading

import pytest
from aiohttp import web

from agora.webhooks.outbox import Outbox
from tests.support.webhooks import eventually

pytestmark = pytest.mark.usefixtures("db", "quiet")


@pytest.mark.parametrize("broken", ["claim", "next_due"])
def test_a_fault_of_a_look_ends_no_try_and_no_loop(team, receiver, engines, monkeypatch, broken):
    answer, faults, right = threading.Event(), [], getattr(Outbox, broken)

    async def when_told(_request):
        await asyncio.to_thread(answer.wait, 30)
        return web.Response(status=204)

    def fault(*_arguments):
        faults.append(broken)
        raise RuntimeError("a fault of ours")

    team.endpoint(receiver.behave("/hook", when_told))
    team.happen()
    engine = engines()
    engine.start()
    eventually(lambda: receiver.under_way["/hook"] == 1)
    monkeypatch.setattr(Outbox, broken, fault)
    engine.ring()
    eventually(lambda: len(faults) > 1)  # it went on after the first
    assert team.statuses() == ["leased"]
    monkeypatch.setattr(Outbox, broken, right)
    answer.set()
    eventually(lambda: team.statuses() == ["succeeded"])
    team.happen()
    engine.ring()
    eventually(lambda: team.statuses() == ["succeeded"] * 2)
    assert len(receiver.got["/hook"]) == 2
    assert len(team.deliveries()[0].attempts) == 1
