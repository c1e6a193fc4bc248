"""Dump and restore of both databases."""

import psycopg
import pytest
from psycopg import sql
from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.errors import Conflict
from agora.identity import service as identity
from agora.jobs import service
from agora.runtime import dump
from agora.runtime.dump import DumpFailed
from tests.support.rig import Rig


class Nothing(BaseModel):
    pass


@pytest.fixture
def empty_urls(postgres):
    names = {"auth": "restored_auth", "main": "restored_main"}
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        for name in names.values():
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return {which: postgres.url(name) for which, name in names.items()}


def test_what_was_dumped_is_there_after_a_restore(db, monkeypatch, tmp_path, empty_urls):
    agent = Agent("probe")
    action = agent.action("idle", input=Nothing, output=Nothing)

    @action.step
    def idle(_: StepContext[Nothing]) -> Nothing:
        return Nothing()

    rig = Rig(monkeypatch, agent)
    jobs = [rig.submit("idle") for _ in range(3)]
    rig.run()
    identity.create_key(identity.ensure_team("t"), "k")
    urls = {"auth": db["AUTH_DATABASE_URL"], "main": db["DATABASE_URL"]}
    target = tmp_path / "agora.dump"
    manifest = dump.dump(urls, target)
    assert manifest["main"]["rows"]["jobs"] == len(jobs)
    assert manifest["auth"]["rows"]["api_keys"] == 1
    dump.restore(empty_urls, target)
    # The workers of the dumped platform do not come with it.
    assert dump.count_rows(empty_urls["main"]) == manifest["main"]["rows"] | {"workers": 0}
    assert dump.count_rows(empty_urls["auth"]) == manifest["auth"]["rows"]
    assert service.get_job(jobs[0].id, team_id=rig.team_id).status == "succeeded"
    with pytest.raises(Conflict, match="not empty"):
        dump.restore(empty_urls, target)
    dump.restore(empty_urls, target, force=True)
    assert dump.count_rows(empty_urls["main"])["jobs"] == len(jobs)


def test_what_was_under_way_is_due_again_and_no_try_is_burnt(db, monkeypatch, tmp_path, empty_urls):
    agent = Agent("probe")
    action = agent.action("idle", input=Nothing, output=Nothing)
    urls = {"auth": db["AUTH_DATABASE_URL"], "main": db["DATABASE_URL"]}

    @action.step
    def idle(_: StepContext[Nothing]) -> Nothing:
        dump.dump(urls, tmp_path / "agora.dump")
        return Nothing()

    rig = Rig(monkeypatch, agent)
    running, rung = rig.submit("idle"), rig.submit("idle")
    rig.engine.run(rig.rung.popleft().step_id)
    dump.restore(empty_urls, tmp_path / "agora.dump")
    with psycopg.connect(empty_urls["main"]) as connection:
        found = connection.execute(
            "SELECT job_id, status, attempt, fence, lease_expires_at, rung_at FROM steps ORDER BY job_id"
        ).fetchall()
    assert found == [(job.id, "ready", 0, None, None, None) for job in (running, rung)]


def test_a_file_that_is_no_dump_changes_nothing(tmp_path, empty_urls):
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"not a tar")
    with pytest.raises(DumpFailed, match="no dump of Agora"):
        dump.restore(empty_urls, wrong)
    assert dump.count_rows(empty_urls["main"]) == {}
