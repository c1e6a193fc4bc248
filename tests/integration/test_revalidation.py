"""Conditional reads: who has an answer already is not sent it again, and hears of every change."""

import pytest

from agora.jobs import service
from tests.support.caller import Caller
from tests.support.probe import submit

READ = [
    "/api/v1/jobs", "/api/v1/agents", "/api/v1/agents/probe", "/api/v1/event-types", "/api/v1/event-types/job.failed",
    "/api/v1/openapi.json", "/errors", "/errors/invalid", "/api/v1/webhook-endpoints", "/api/v1/limits",
]  # fmt: skip


def test_who_has_an_answer_is_not_sent_it_again(caller, rig):
    submit(caller)
    for path in READ:
        check_revalidation(caller, path)


def check_revalidation(caller, path):
    first = caller.get(path)
    tag = first.headers["ETag"]
    for given in (tag, f'"x", W/{tag}', "*"):
        again = caller.get(path, headers={"If-None-Match": given})
        assert (again.status_code, again.data) == (304, b""), given
        for header in ("ETag", "Vary", "Cache-Control", "X-Request-Id"):
            assert (header in again.headers) is (header in first.headers), header
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"] != "no-store"
        assert "Content-Type" not in again.headers
    assert caller.get(path, headers={"If-None-Match": '"other"'}).json == first.json
    refused = caller.get(path, headers={"If-Match": '"other"'})
    assert (refused.status_code, refused.json["code"]) == (412, "precondition-failed")
    assert refused.content_type.startswith("application/problem+json")
    assert refused.headers.get("Agora-Version") == first.headers.get("Agora-Version")
    assert caller.get(path, headers={"If-Match": tag}).status_code == 200
    assert caller.get(path, headers={"If-None-Match": "other"}).json["errors"][0]["rule"] == "entity-tag"


def test_answers_of_others_and_refusals_have_no_tag(caller, app):
    assert "ETag" not in caller.get("/api/v1/jobs/job_x").headers
    assert "ETag" not in app.test_client().get("/healthz").headers
    assert set(caller.get("/api/v1/jobs").vary) == {"Accept", "Authorization", "Agora-Team", "Agora-Version"}


def job_tags(caller, rig, action):
    """The tags of a job from its submit to its end, each as long as it lasted."""
    path = submit(caller, action).headers["Location"]
    tags = [caller.get(path).headers["ETag"]]
    while rig.rung:
        rig.engine.run(rig.rung.popleft().step_id)
        tags.append(caller.get(path).headers["ETag"])
    return path, tags


def test_who_polls_a_job_hears_of_every_change_and_of_nothing_else(caller, rig, monkeypatch):
    path, tags = job_tags(caller, rig, "ask")
    assert len(set(tags)) == len(tags) == 2
    monkeypatch.setattr(service, "get_job", lambda *_, **__: 1 / 0)  # it need not be loaded
    assert caller.get(path, headers={"If-None-Match": tags[-1]}).status_code == 304
    monkeypatch.undo()
    caller.post(f"{path}/input", json={"value": 3})
    changed = caller.get(path, headers={"If-None-Match": tags[-1]})
    assert changed.status_code == 200
    assert changed.headers["ETag"] not in tags


def test_a_job_that_runs_shows_its_seconds_and_keeps_its_tag(caller, rig):
    path = submit(caller).headers["Location"]
    rig.sql("UPDATE steps SET status = 'running', started_at = now(), fence = 'f', lease_expires_at = now()")
    rig.sql("UPDATE jobs SET status = 'running', started_at = now()")
    first = caller.get(path)
    assert first.headers["ETag"].startswith("W/")
    assert caller.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    for change in ("jobs SET progress_message = 'half'", "steps SET attempt = 2", "jobs SET usage = '{\"tokens\": 1}'"):
        before = caller.get(path).headers["ETag"]
        rig.sql(f"UPDATE {change}")
        assert caller.get(path, headers={"If-None-Match": before}).status_code == 200, change


def test_a_job_in_line_and_one_with_children_are_looked_at_whole(caller, rig):
    job = submit(caller)
    assert service.version_of(job.json["id"], team_id=caller.team_id) is None
    before = caller.get(job.headers["Location"])
    assert caller.get(job.headers["Location"], headers={"If-None-Match": before.headers["ETag"]}).status_code == 304
    rig.sql("INSERT INTO queues (name, paused_at, reason) SELECT queue, now(), 'lunch' FROM steps")
    after = caller.get(job.headers["Location"], headers={"If-None-Match": before.headers["ETag"]})
    assert after.json["waits"]["reason"] == "paused"
    rig.run()
    other = submit(caller).json["id"]
    rig.sql("UPDATE jobs SET parent_id = :parent WHERE id = :id", parent=job.json["id"], id=other)
    assert service.version_of(job.json["id"], team_id=caller.team_id) is None


def test_a_job_of_another_team_has_no_version(app, caller, rig):
    path, tags = job_tags(caller, rig, "double")
    stranger = Caller(app, team="other")
    assert stranger.get(path, headers={"If-None-Match": tags[-1]}).status_code == 404


@pytest.mark.parametrize("fields", ["status", "status,output", "steps", "id,usage", "steps.name,status"])
def test_a_part_of_a_job_has_one_tag_while_it_is_the_same(caller, rig, fields):
    path, _ = job_tags(caller, rig, "double")
    path = f"{path}?fields={fields}"
    tag = caller.get(path).headers["ETag"]
    again = caller.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.headers["ETag"]) == (304, tag)
    other = caller.get(path, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.headers["ETag"]) == (200, tag)


def test_a_weak_tag_never_matches_if_match(caller, rig):
    """RFC 9110, 13.1.1: only what is the same byte for byte."""
    path, tags = job_tags(caller, rig, "double")
    assert tags[-1].startswith("W/")
    assert caller.get(path, headers={"If-Match": tags[-1]}).status_code == 412
    limits = caller.get("/api/v1/limits")
    assert caller.get("/api/v1/limits", headers={"If-Match": limits.headers["ETag"]}).status_code == 200
