"""Deliveries that ended a while ago, and replays of them that are worked off in the test's own process."""

from datetime import timedelta

import pytest

from agora.clock import now
from agora.ids import floor_id, new_id
from agora.webhooks import replay_duties, replays
from agora.webhooks.operation_types import NewReplay, ReplayFilter
from tests.support.webhooks import sql

URL = "https://127.0.0.1/hook"


def some_ended(team, endpoint, count, status="exhausted", *, kind="job.failed", job_id=None, age=timedelta(hours=1)):
    """Deliveries that ended a while ago; returns their ids in order."""
    made = now() - age
    ids = sorted(floor_id("whd", made)[:-6] + f"{new_id('whd')[-6:]}" for _ in range(count))
    for n, one in enumerate(ids):
        sql(
            """
            INSERT INTO webhook_deliveries (id, team_id, endpoint_id, event_id, job_id, event_type, body, status,
                                            attempt, created_at, ended_at, last_status_code, last_error)
            VALUES (:id, :team, :endpoint, :event, :job, :kind, :body, :status, 3, :made, :made, 500, 'it said 500')
            """,
            id=one, team=team.id, endpoint=endpoint.id, event=new_id("evt"), job=job_id, kind=kind, status=status,
            made=made, body=f'{{"n":{n}}}',
        )  # fmt: skip
    return ids


def begin(team, *, endpoint=None, everything=False, **filters):
    new = NewReplay(filter=ReplayFilter(**filters), endpoint=endpoint, everything=everything)
    return replays.begin(new, team_id=team.id)[0]


def recover(team, endpoint, since=timedelta(hours=2)):
    return replays.begin(replays.recovery(endpoint.id, now() - since), team_id=team.id)[0]


def get(team, replay):
    return replays.get_replay(replay.id, team_id=team.id)


def work_off(*, at_most=200):
    for _ in range(at_most):
        if not replay_duties.work_off():
            return
    pytest.fail("it does not end")


def state(ids):
    rows = sql("SELECT id, status FROM webhook_deliveries WHERE id = ANY(:ids)", ids=list(ids))
    return {row["id"]: row["status"] for row in rows}


def drains(endpoint):
    return sql("SELECT draining FROM webhook_endpoints WHERE id = :id", id=endpoint.id)[0]["draining"]


def begun(found):
    return (found.matched, found.remaining, found.progress, found.status)


def ended(found):
    return (found.done, found.skipped, found.remaining, found.progress, found.status)
