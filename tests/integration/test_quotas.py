"""Tiers and quotas: jobs a day, storage, members, projects; exact however many come at once, and with Redis away."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from agora.agents import StepContext
from agora.caching import link
from agora.client import Agora, ApiError
from agora.clock import now
from agora.db.session import transaction
from agora.errors import Conflict, Invalid, NotFound
from agora.files import store
from agora.identity import invitations, members
from agora.identity import service as identity
from agora.identity.models import InvitationRow, MemberRow
from agora.identity.roles import Role
from agora.jobs import decide
from agora.projects.models import ProjectRow
from agora.quotas import daily, tiers
from agora.quotas.types import QuotaExceeded
from agora.schedules import firing
from agora.schedules import service as schedules
from agora.schedules.types import NewSchedule
from tests.support import people
from tests.support.people import Browser
from tests.support.probes import Number, agent_with
from tests.support.projects import a_project
from tests.support.rig import Rig
from tests.support.server import served
from tests.support.shell import Shell

pytestmark = pytest.mark.usefixtures("as_many_processes")
JOBS, QUOTAS = "/api/v1/jobs", "/api/v1/quotas"
AWAY = "redis://127.0.0.1:1/0"


def only(ctx: StepContext[Number]) -> Number:
    return Number(n=ctx.input.n)


@pytest.fixture
def rig(db, monkeypatch, caller):
    made = Rig(monkeypatch, agent_with(job=[only]))
    made.team_id = caller.team_id
    return made


@pytest.fixture
def submit(caller, rig):
    def post(headers=None, **more):
        body = {"agent": rig.agent.name, "action": "job", "input": {"n": 1}, **more}
        return caller.post(JOBS, json=body, headers=headers)

    return post


def used(caller, name):
    return next(one for one in caller.get(QUOTAS).json["items"] if one["quota"] == name)


def count(rig):
    return rig.sql("SELECT count(*) AS n FROM jobs WHERE team_id = :team", team=rig.team_id)[0]["n"]


# --- jobs a day


def test_jobs_of_a_day_are_refused_beyond_the_quota_and_told_until_when(caller, rig, submit, limit):
    limit(jobs_per_day=2)
    assert [submit().status_code for _ in range(3)] == [202, 202, 429]
    refused = submit()
    assert (refused.json["code"], refused.json["quota"], refused.json["limit"]) == (
        "daily-quota-exceeded", "jobs_per_day", 2
    )  # fmt: skip
    resets = datetime.fromisoformat(refused.json["resets_at"])
    assert (resets.hour, resets.minute, resets.second) == (0, 0, 0)
    assert abs(int(refused.headers["Retry-After"]) - (resets - now()).total_seconds()) < 5
    assert used(caller, "jobs_per_day")["used"] == 2
    limit(jobs_per_day=None)
    assert submit().status_code == 202


def test_what_makes_no_job_needs_no_room(rig, submit, limit):
    limit(jobs_per_day=2)
    key = {"Idempotency-Key": "k"}
    first = submit(key)
    twin = submit(unique={"key": "u"})
    assert (first.status_code, twin.status_code, submit().status_code) == (202, 202, 429)
    again = submit(key)
    assert (again.status_code, again.json["id"]) == (202, first.json["id"])
    assert submit(unique={"key": "u"}).json["id"] == twin.json["id"]
    assert submit({"Idempotency-Key": "other"}).status_code == 429


def test_what_was_refused_or_failed_gives_its_room_back(rig, submit, limit, monkeypatch):
    limit(jobs_per_day=1)
    assert submit(input={"n": "none"}).status_code == 422

    def broken(*_, **__):
        raise Conflict("not now")

    with monkeypatch.context() as patch:
        patch.setattr("agora.jobs.service.insert_plain", broken)
        assert [submit().status_code for _ in range(3)] == [409] * 3
    assert [submit().status_code for _ in range(2)] == [202, 429]


def test_batches_retries_forks_and_schedules_count(caller, rig, submit, limit):
    limit(jobs_per_day=6)
    job = {"agent": rig.agent.name, "action": "job", "input": {"n": 1}}
    assert caller.post("/api/v1/batches", json={"jobs": [job] * 3}).status_code == 202
    assert caller.post("/api/v1/batches", json={"jobs": [job] * 4}).status_code == 429
    made = submit().json
    caller.post(f"{JOBS}/{made['id']}/cancel", json={})
    assert caller.post(f"{JOBS}/{made['id']}/retry", json={}).status_code == 202
    new = NewSchedule(name="s", agent=rig.agent.name, action="job", input={"n": 1}, every=3600.0)
    schedules.create_schedule(new, team_id=rig.team_id)
    assert caller.post("/api/v1/schedules/s/run", json={}).status_code in {201, 202}
    assert count(rig) == 6
    assert caller.post(f"{JOBS}/{made['id']}/retry", json={}).status_code == 429
    rig.sql("UPDATE schedules SET next_fire_at = now() - interval '1 second'")
    firing.fire_schedules()
    assert schedules.get_schedule("s", team_id=rig.team_id).last_error["code"] == "daily-quota-exceeded"
    assert count(rig) == 6


def test_many_at_once_never_get_more_than_the_quota(rig, limit):
    limit(jobs_per_day=10)

    def one(_):
        try:
            rig.submit("job", {"n": 1})
        except daily.DailyQuotaExceeded:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(40))) == 10
    assert count(rig) == 10


def test_a_wiped_redis_begins_from_what_postgres_knows(rig, submit, limit, valkey):
    limit(jobs_per_day=2)
    assert submit().status_code == 202
    link.ask(lambda client: client.flushdb())
    assert [submit().status_code for _ in range(2)] == [202, 429]


def test_while_redis_is_away_postgres_is_asked_and_what_was_made_meanwhile_counts_after(
    db, rig, submit, limit, setting
):  # fmt: skip
    limit(jobs_per_day=3)
    assert submit().status_code == 202
    setting("REDIS_URL", AWAY)
    assert submit().status_code == 202
    setting("REDIS_URL", db["REDIS_URL"])
    assert [submit().status_code for _ in range(2)] == [202, 429]
    setting("REDIS_URL", AWAY)
    assert submit().status_code == 429
    assert count(rig) == 3


def test_the_client_asks_once_when_the_day_is_used_up(app, caller, rig, limit, monkeypatch):
    limit(jobs_per_day=0)
    noon = now().replace(hour=12)
    monkeypatch.setattr(daily, "now", lambda: noon)
    sent, once = [], Agora._once

    def counted(self, method, path, *rest):
        sent.append(path)
        return once(self, method, path, *rest)

    monkeypatch.setattr(Agora, "_once", counted)
    with served(app) as url, Agora(url, caller.key) as client:
        with pytest.raises(ApiError) as refused:
            client.submit(rig.agent.name, "job", {"n": 1})
        assert (refused.value.code, sent) == ("daily-quota-exceeded", ["/jobs"])
        assert client.quotas()["tier"] == "enterprise"


def test_yesterdays_jobs_do_not_count(rig, submit, limit, monkeypatch):
    limit(jobs_per_day=1)
    assert [submit().status_code for _ in range(2)] == [202, 429]
    tomorrow = now() + timedelta(days=1)
    monkeypatch.setattr(daily, "now", lambda: tomorrow)
    assert submit().status_code == 202


# --- storage, projects, members


def test_storage_is_bounded_and_what_was_refused_is_not_kept(caller, limit):
    limit(storage_bytes=10)

    def upload(size):
        return caller.post("/api/v1/files?name=a.bin", data=b"x" * size, content_type="application/octet-stream")

    assert upload(6).status_code == 201
    refused = upload(5)
    assert (refused.status_code, refused.json["code"]) == (403, "quota-exceeded")
    assert (refused.json["quota"], refused.json["limit"], refused.json["used"]) == ("storage_bytes", 10, 6)
    assert upload(4).status_code == 201
    assert len(store.list_all(f"files/{caller.team_id}")) == 2
    assert used(caller, "storage_bytes")["used"] == 10
    barrier = threading.Barrier(4)
    limit(storage_bytes=20)

    def at_once(_):
        barrier.wait(10)
        return upload(5).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(at_once, range(4))) == [201, 201, 403, 403]


def test_projects_are_bounded_also_at_once_and_no_retry_helps(caller, limit):
    limit(projects=2)
    barrier = threading.Barrier(4)

    def one(_):
        barrier.wait(10)
        try:
            a_project(caller.team_id)
        except QuotaExceeded as refused:
            return decide.failure_of(refused)
        return None

    with ThreadPoolExecutor(4) as pool:
        failures = [one for one in pool.map(one, range(4)) if one is not None]
    assert [(one.code, one.retryable) for one in failures] == [("quota-exceeded", False)] * 2
    with transaction() as session:
        assert session.query(ProjectRow).count() == 2
    assert used(caller, "projects") == {"quota": "projects", "limit": 2, "used": 2, "resets_at": None}


@pytest.fixture
def owner(app, setting):
    setting("AGORA_MAIL_URL", "console:")
    browser = Browser(app, people.sign_up())
    browser.team = browser.post("/api/v1/teams", json={"name": "Acme"}).json["id"]
    return browser


def test_members_are_bounded_when_they_are_invited(owner):
    tiers.move_team(owner.team, None, {"members": 2})
    path = "/api/v1/team/invitations"
    assert owner.post(path, json={"email": "b@example.test", "role": "viewer"}).status_code == 201
    assert owner.post(path, json={"email": "b@example.test", "role": "lead"}).status_code == 201  # in its place
    refused = owner.post(path, json={"email": "c@example.test", "role": "viewer"})
    assert (refused.status_code, refused.json["quota"], refused.json["used"]) == (403, "members", 2)


def test_members_are_bounded_when_they_join_also_at_once(owner):
    guests, me = [people.sign_up() for _ in range(4)], owner.get("/api/v1/me").json["id"]
    for one in guests:
        invitations.invite(owner.team, one.email, Role.VIEWER, by=me, address="127.0.0.1")
    tiers.move_team(owner.team, None, {"members": 3})  # fewer than are invited
    with transaction("auth") as session:
        rows = session.query(InvitationRow).all()
        tokens = {row.email: invitations._token(row) for row in rows}
    barrier = threading.Barrier(4)

    def join(person):
        barrier.wait(10)
        try:
            invitations.accept(tokens[person.email], user_id=person.id)
        except QuotaExceeded:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(join, guests)) == 2
    with transaction("auth") as session:
        assert session.query(MemberRow).filter_by(team_id=owner.team).count() == 3
        assert session.query(InvitationRow).filter(InvitationRow.accepted_at.is_not(None)).count() == 2
    members.remove_member(owner.team, next(m.user_id for m in members.list_members(owner.team) if m.role == "viewer"))
    left = [one for one in guests if one.id not in {m.user_id for m in members.list_members(owner.team)}]
    again = [one for one in left if tokens[one.email]]
    assert sum(map_join(tokens, again)) == 1


def map_join(tokens, guests):
    for one in guests:
        try:
            invitations.accept(tokens[one.email], user_id=one.id)
        except (QuotaExceeded, Invalid):
            yield 0
        else:
            yield 1


# --- tiers


def test_new_teams_have_no_limits_unless_the_operator_says_so(app, caller, setting):
    assert caller.get(QUOTAS).json["tier"] == "enterprise"
    assert {one["limit"] for one in caller.get(QUOTAS).json["items"]} == {None}
    setting("AGORA_DEFAULT_TIER", "free")
    browser = Browser(app, people.sign_up())
    assert browser.get(QUOTAS).json["tier"] == "free"
    assert used(browser, "projects") == {"quota": "projects", "limit": 3, "used": 0, "resets_at": None}
    assert used(browser, "members")["used"] == 1
    assert used(browser, "jobs_per_day")["resets_at"].endswith("00:00:00Z")
    browser.team = browser.post("/api/v1/teams", json={"name": "B"}).json["id"]
    assert browser.get(QUOTAS).json["tier"] == "free"
    assert tiers.of(identity.ensure_team("new")).tier == "free"


def test_tiers_are_listed_set_and_given_by_command(caller, as_landed):
    shell = Shell("http://127.0.0.1:1", "none")
    assert shell("tiers", "list").splitlines()[0].split()[:2] == ["TIER", "PROJECTS"]
    assert "free" in shell("tiers", "list")
    shell("tiers", "set", "gold", "--projects", "7", "--requests-per-minute", "50")
    assert "gold" in shell("team", "tier", "t", "gold")
    assert caller.get(QUOTAS).headers["RateLimit-Policy"] == '"team";q=50;w=60'
    shell("tiers", "set", "gold", "--requests-per-minute", "70")
    assert caller.get(QUOTAS).headers["RateLimit-Policy"] == '"team";q=70;w=60'
    shell("team", "tier", "t", "--projects", "unlimited")
    shell("team", "tier", "t", "--members", "5")
    assert (used(caller, "projects")["limit"], used(caller, "members")["limit"]) == (None, 5)
    shell("team", "tier", "t", "--as-tier")
    assert (used(caller, "projects")["limit"], used(caller, "members")["limit"]) == (7, None)
    assert "there is no tier" in shell("team", "tier", "t", "none", code=1)
    assert "there is no team" in shell("team", "tier", "nobody", "free", code=1)
    assert "requests_per_minute" in shell("tiers", "set", "gold", "--requests-per-minute", "0", code=1)
    assert "neither" in shell("tiers", "set", "gold", "--projects", "-1", code=2)


@pytest.mark.parametrize("name", ["", "Gold", "9", "a" * 41, "a_b"])
def test_a_tier_has_a_plain_name(db, name):
    with pytest.raises(Invalid):
        tiers.set_tier(name, {})


def test_a_team_that_is_not_there_has_no_tier_to_be_moved_to(db):
    with pytest.raises(NotFound):
        tiers.move_team("nobody", "free", {})
