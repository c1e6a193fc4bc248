"""A team with its endpoints, and ways to look at what becomes of its deliveries."""

import time

import pytest
from sqlalchemy import text

from agora.clock import now
from agora.db.session import transaction
from agora.events.types import NewEvent
from agora.ids import new_id
from agora.webhooks import service
from agora.webhooks.fan_out_queries import fan_out
from agora.webhooks.types import DeliveryFilter, InlineWebhook, NewEndpoint


class Team:
    """One team with its endpoints and events."""

    def __init__(self):
        self.id = new_id("team")

    def endpoint(self, url, **options):
        return service.create_endpoint(NewEndpoint(url=url, **options), team_id=self.id)

    def happen(self, kind="job.succeeded", *, job_id=None, agent="probe", count=1, data=None):
        events = [NewEvent(type=kind, data=data or {"job_id": job_id, "status": "x"}) for _ in range(count)]
        with transaction() as session:
            fan_out(session, team_id=self.id, job_id=job_id, agent=agent, events=events, occurred_at=now())
        return events

    def deliveries(self, **filters):
        found = service.list_deliveries(DeliveryFilter(**filters), team_id=self.id, limit=1000).items
        return [service.get_delivery(one.id, team_id=self.id) for one in reversed(found)]

    def statuses(self, **filters):
        return [one.status for one in service.list_deliveries(DeliveryFilter(**filters), team_id=self.id).items]


def sql(statement, **parameters):
    with transaction() as session:
        result = session.execute(text(statement), parameters)
        return result.mappings().all() if result.returns_rows else result.rowcount


def eventually(check, *, seconds=15.0):
    """Poll until ``check`` gives something true; returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail(f"not within {seconds} s: {check.__name__}")


def run_until_ended(engine, team, *, rounds=200):
    for _ in range(rounds):
        engine.run_once()
        if not set(team.statuses()) & {"pending", "leased"}:
            return
        time.sleep(0.02)
    pytest.fail("deliveries did not end")


def gone_in_line(team, receiver, engines):
    """The id of a job whose own endpoint did not take its first event, and wants no more at its second."""
    receiver.behave("/hook", 503, 410)
    job_id = new_id("job")
    with transaction() as session:
        webhook = InlineWebhook(url=receiver.url("/hook"), events=("job.*",))
        service.create_inline(session, team_id=team.id, job_id=job_id, webhook=webhook)
    team.happen("job.created", job_id=job_id)
    engines().run_once()
    sql("UPDATE webhook_endpoints SET open_until = NULL, next_due_at = now()")
    team.happen("job.started", job_id=job_id)
    engines().run_once()
    return job_id
