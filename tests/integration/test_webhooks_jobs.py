"""From a submitted job to its callback: the engine fans out, the sender delivers, the receiver verifies."""

import pytest
from pydantic import BaseModel
from standardwebhooks import Webhook

from agora import broker
from agora.agents import Agent, StepContext
from agora.errors import Invalid
from agora.jobs import service as jobs
from agora.jobs.types import InlineWebhook, Submission
from agora.webhooks import service
from agora.webhooks.delivery import DeliveryEngine
from agora.webhooks.types import DeliveryFilter, NewEndpoint
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")


class Number(BaseModel):
    n: int = 1


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def rig(monkeypatch):
    agent = Agent("webhook_probe")
    action = agent.action("double", input=Number, output=Number)

    @action.step
    def double(ctx: StepContext[Number]) -> Number:
        return Number(n=ctx.input.n * 2)

    return Rig(monkeypatch, agent)


def deliver(team_id):
    engine = DeliveryEngine(timeout=5)
    for _ in range(20):
        engine.run_once()
        open_ = service.list_deliveries(DeliveryFilter(statuses=("pending", "leased")), team_id=team_id).items
        if not open_:
            return
    pytest.fail("deliveries did not end")


def test_a_job_calls_back_with_a_verified_webhook(rig, receiver):
    webhook = InlineWebhook(url=receiver.url("/done"))
    submission = Submission(agent="webhook_probe", action="double", input={"n": 21}, webhook=webhook, metadata={"a": 1})
    submitted = jobs.submit(submission, team_id=rig.team_id)
    rig.run()
    deliver(rig.team_id)
    [(headers, body, _, _)] = receiver.got["/done"]
    payload = Webhook(submitted.webhook_secret).verify(body, headers)
    assert payload["type"] == "job.succeeded"
    assert payload["data"]["job_id"] == submitted.job.id
    assert payload["data"]["metadata"] == {"a": 1}
    events = {event.id: event.type for event in jobs.list_events(submitted.job.id, team_id=rig.team_id)}
    assert events[headers["webhook-id"]] == "job.succeeded"


def test_an_endpoint_gets_every_event_of_every_job(rig, receiver, monkeypatch):
    rings = []
    monkeypatch.setattr(broker, "ring_deliveries", lambda: rings.append(1))
    service.create_endpoint(NewEndpoint(url=receiver.url("/all")), team_id=rig.team_id)
    job = rig.submit("double")
    rig.run()
    assert rings
    deliver(rig.team_id)
    recorded = {e.id for e in jobs.list_events(job.id, team_id=rig.team_id) if e.type != "job.progressed"}
    assert {got[0]["webhook-id"] for got in receiver.got["/all"]} == recorded
    assert len(receiver.got["/all"]) == len(recorded) >= 4


def test_a_bad_webhook_makes_no_job(rig):
    submission = Submission(
        agent="webhook_probe", action="double", input={}, webhook=InlineWebhook(url="https://user:pw@127.0.0.1/")
    )
    with pytest.raises(Invalid) as caught:
        jobs.submit(submission, team_id=rig.team_id)
    assert caught.value.errors[0].pointer == "/webhook/url"
    assert rig.sql("SELECT count(*) AS n FROM jobs WHERE team_id = :team", team=rig.team_id)[0]["n"] == 0
