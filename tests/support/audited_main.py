"""Makes each action of the audit log happen that writes in the main database."""

import io
from datetime import timedelta

from agora.clock import now
from agora.projects import changes
from agora.projects.states import Phase
from tests.support.audited import API, HOOKS, MAKERS, SECRET_HEADER, makes
from tests.support.portal import Visitor
from tests.support.projects import a_project
from tests.support.webhooks import sql

__all__ = ["MAKERS"]


@makes("job.cancelled")
def _(w):
    made = w.job()
    w.post(f"/jobs/{made}/cancel", {"reason": "by mistake"})
    return made


@makes("job.answered")
def _(w):
    made = w.job("ask")
    w.post(f"/jobs/{made}/input", {"value": 7})
    return made


@makes("job.approved")
def _(w):
    made = w.job("pay", budget={"max_cost_usd": "0.2", "on_exceeded": "ask"})
    w.post(f"/jobs/{made}/approve", {"budget": {"max_cost_usd": "0.5"}})
    return made


@makes("job.retried")
def _(w):
    made = w.job("fail")
    w.post(f"/jobs/{made}/retry", {"priority": 9})
    return made


@makes("job.forked")
def _(w):
    made = w.job("fail")
    w.post(f"/jobs/{made}/fork", {"from_step": "fails", "input": {"n": 8}})
    return made


@makes("job.moved")
def _(w):
    made = w.job(version=1)
    w.post(f"/jobs/{made}/move", {"version": 2})
    return made


@makes("batch.cancelled")
def _(w):
    made = w.post("/batches", {"jobs": [{"agent": "probe", "action": "plain", "input": {}}]})["id"]
    w.post(f"/batches/{made}/cancel", {"reason": "enough"})
    return made


@makes("bulk.created")
def _(w):
    return w.post("/bulk", {"action": "cancel", "filter": {}, "all": True, "reason": "enough"})["id"]


@makes("bulk.cancelled")
def _(w):
    w.job()
    made = w.post("/bulk", {"action": "cancel", "filter": {}, "all": True})["id"]
    w.post(f"/bulk/{made}/cancel")
    return made


@makes("schedule.created")
def _(w):
    return w.schedule()


@makes("schedule.updated")
def _(w):
    made = w.schedule()
    assert w.caller.patch(f"{API}/schedules/{made}", json={"every": 60, "input": {"n": 3}}).status_code == 200
    return made


@makes("schedule.deleted")
def _(w):
    made = w.schedule()
    assert w.caller.delete(f"{API}/schedules/{made}").status_code == 204
    return made


@makes("schedule.paused")
def _(w):
    return w.post(f"/schedules/{w.schedule()}/pause")["id"]


@makes("schedule.resumed")
def _(w):
    paused = w.post(f"/schedules/{w.schedule()}/pause")["id"]
    return w.post(f"/schedules/{paused}/resume")["id"]


@makes("schedule.run")
def _(w):
    made = w.schedule()
    w.post(f"/schedules/{made}/run")
    return made


@makes("limit.set")
def _(w):
    assert w.caller.put(f"{API}/limits/probe", json={"max_running": 3}).status_code == 200
    return "probe"


@makes("limit.removed")
def _(w):
    w.caller.put(f"{API}/limits/probe", json={"max_running": 3})
    assert w.caller.delete(f"{API}/limits/probe").status_code == 204
    return "probe"


@makes("queue.paused")
def _(w):
    w.post("/queues/cpu/pause", {"reason": "deploy"})
    return "cpu"


@makes("queue.resumed")
def _(w):
    w.post("/queues/cpu/resume")
    return "cpu"


@makes("hold.created")
def _(w):
    return w.post("/holds", {"name": "case 17", "metadata": {"customer": "c-17"}})["id"]


@makes("hold.released")
def _(w):
    made = w.post("/holds", {"name": "case 17", "metadata": {"customer": "c-17"}})["id"]
    for _ in range(2):  # a repeat changes nothing, and is not told
        assert w.caller.delete(f"{API}/holds/{made}").status_code == 200
    return made


@makes("file.uploaded")
def _(w):
    return w.made(w.caller.post(f"{API}/files?name=a.txt", data=io.BytesIO(b"text"), content_type="text/plain"))


@makes("project.updated", by="system")
def _(w):
    made = a_project(w.caller.team_id).project_id
    changes.update_project(made, team_id=w.caller.team_id, name="Another")
    return made


@makes("project.phase_changed", by="system")
def _(w):
    made = a_project(w.caller.team_id).project_id
    changes.set_phase(made, Phase.ANALYSIS, team_id=w.caller.team_id)
    return made


@makes("specification.revised", by="system")
def _(w):
    a_project(w.caller.team_id)
    made = sql("SELECT id FROM specifications ORDER BY id DESC LIMIT 1")[0]["id"]
    changes.revise_specification(made, team_id=w.caller.team_id, value="<= 1 s")
    return made


@makes("conflict.resolved", by="system")
def _(w):
    a_project(w.caller.team_id)
    made = sql("SELECT id FROM conflicts ORDER BY id DESC LIMIT 1")[0]["id"]
    changes.resolve_conflict(made, team_id=w.caller.team_id)
    return made


@makes("webhook.endpoint.created")
def _(w):
    return w.endpoint(headers={"Authorization": SECRET_HEADER})


@makes("webhook.endpoint.updated")
def _(w):
    made = w.endpoint()
    body = {"description": "orders", "headers": {"Authorization": SECRET_HEADER}}
    assert w.caller.patch(f"{HOOKS}/{made}", json=body).status_code == 200
    return made


@makes("webhook.endpoint.deleted")
def _(w):
    made = w.endpoint(headers={"Authorization": SECRET_HEADER})
    assert w.caller.delete(f"{HOOKS}/{made}").status_code == 204
    return made


@makes("webhook.endpoint.paused", by="link")
def _(w):
    made = w.endpoint()
    link = w.post("/webhook-portal-links", {"all_endpoints": True, "label": "Customer"})
    visitor = Visitor(w.app, link["url"].rpartition("/")[2])
    visitor.open()
    assert visitor.send(visitor.get(f"/webhook-portal/endpoints/{made}/edit"), "/pause").status == 200
    return made


@makes("webhook.endpoint.resumed")
def _(w):
    made = w.endpoint()
    w.post(f"/webhook-endpoints/{made}/pause")
    w.post(f"/webhook-endpoints/{made}/resume")
    return made


@makes("webhook.endpoint.tested")
def _(w):
    made = w.endpoint()
    w.post(f"/webhook-endpoints/{made}/test")
    return made


@makes("webhook.key.created")
def _(w):
    return w.post("/webhook-keys")["id"]


@makes("webhook.key.rotated")
def _(w):
    return w.post(f"/webhook-endpoints/{w.endpoint()}/key-rotations", {"overlap_seconds": 60})["id"]


@makes("webhook.key.revoked")
def _(w):
    made = w.post("/webhook-keys")["id"]
    assert w.caller.delete(f"{API}/webhook-keys/{made}").status_code == 204
    return made


@makes("webhook.delivery.resent")
def _(w):
    return w.post(f"/webhook-deliveries/{w.delivery()}/resend")["id"]


@makes("webhook.replay.created")
def _(w):
    since = (now() - timedelta(hours=1)).isoformat()
    return w.post(f"/webhook-endpoints/{w.endpoint()}/recover", {"since": since})["id"]


@makes("webhook.replay.cancelled")
def _(w):
    made = w.post("/webhook-replays", {"all": True})["id"]
    w.post(f"/webhook-replays/{made}/cancel")
    return made


@makes("webhook.link.created")
def _(w):
    return w.post("/webhook-portal-links", {"scope": {"customer": "c-17"}})["id"]


@makes("webhook.link.revoked")
def _(w):
    made = w.post("/webhook-portal-links", {"all_endpoints": True})["id"]
    for _ in range(2):
        assert w.caller.delete(f"{API}/webhook-portal-links/{made}").status_code == 204
    return made
