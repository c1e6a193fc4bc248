"""The catalogue of the audit log: each action is made to happen, and leaves an entry that tells of it and no secret."""

import email
import email.policy
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from agora.audit import service as audit
from agora.audit.acting import PLATFORM, ActorKind
from agora.audit.actions import ACTIONS, HIDDEN
from agora.audit.models import EntryRow
from agora.audit.types import Filter
from agora.cli import run
from agora.db.session import transaction
from agora.identity import duties, members, trail, user_queries
from agora.ids import made_at
from agora.webhooks import service as webhooks
from tests.support import people
from tests.support.audited import AGENT, NEW_PASSWORD, SECRET_HEADER, TOLD_ONCE, World
from tests.support.audited_access import MAKERS
from tests.support.people import PASSWORD
from tests.support.rig import Rig


@pytest.fixture
def worlds(app, monkeypatch, setting, tmp_path, provider):
    """Makes worlds, each with a team and people of its own."""
    setting("AGORA_MAIL_URL", f"file://{tmp_path}/mail")
    setting("AGORA_SIGN_UP", "open")

    def mailed():
        duties.send_mails()
        newest = max((tmp_path / "mail").glob("*.eml"))
        message = email.message_from_bytes(newest.read_bytes(), policy=email.policy.default)
        return re.search(r"^ {4}(\S+)\s*$", message.get_content(), re.MULTILINE)[1]

    rig = Rig(monkeypatch, AGENT)
    return lambda: World(app, rig, mailed, tmp_path, provider)


@pytest.fixture
def world(worlds):
    return worlds()


def test_every_action_is_made_to_happen_here():
    assert MAKERS.keys() == ACTIONS.keys()


def test_the_documentation_names_every_action_and_no_other():
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    section = page.partition("## Actions")[2].partition("## Check it")[0]
    assert set(re.findall(r"`([a-z_.]+)`", section)) == ACTIONS.keys()


def teams_of(user_id):
    with transaction("auth") as session:
        found = session.execute(text("SELECT team_id FROM members WHERE user_id = :id"), {"id": user_id})
        return set(found.scalars())


def test_every_action_leaves_one_entry_in_the_log_of_each_team_that_it_concerns_and_no_secret(worlds):
    wrong = {}
    for action, (maker, by, platform) in MAKERS.items():
        world = worlds()
        try:
            check(world, action, maker(world), by, platform=platform)
        except Exception as error:  # noqa: BLE001  # all of them are told at once
            wrong[action] = f"{type(error).__name__}: {error}"[:300]
    assert wrong == {}
    with transaction("auth") as session:
        whole = "\n".join(session.execute(text("SELECT row_to_json(e)::text FROM audit_entries e")).scalars())
    assert len(whole) > 20_000
    assert HIDDEN in whole
    for secret in (PASSWORD, NEW_PASSWORD, SECRET_HEADER, *TOLD_ONCE):
        assert secret not in whole


def check(world, action, object_id, by, *, platform):
    theirs = {PLATFORM} if platform else world.teams
    about_user = action.startswith("user.")
    if about_user:
        theirs = teams_of(object_id)
    found = [one for one in world.entries(action) if one.object_id == object_id and one.team_id in theirs]
    assert found, [(one.team_id, one.object_id) for one in world.entries(action)]
    assert len(found) == 1 or about_user
    entry = found[-1]
    assert (entry.actor_kind, entry.object_type) == (by, ACTIONS[action].object_type)
    known = by not in {ActorKind.SYSTEM, ActorKind.ANONYMOUS}
    assert (bool(entry.actor_id), bool(entry.actor_name)) == (known, known)
    if by in {ActorKind.KEY, ActorKind.USER, ActorKind.LINK}:
        assert entry.address == (world.address if by == ActorKind.USER else "127.0.0.1")
        assert entry.request_id.startswith("req_")


def test_a_change_tells_what_was_and_what_is_and_nothing_else(world):
    made = world.endpoint(description="old", headers={"X-Key": "1"})
    body = {"description": "new", "rate_limit": 5, "headers": {"X-Key": "2"}}
    world.caller.patch(f"/api/v1/webhook-endpoints/{made}", json=body)
    [entry] = world.entries("webhook.endpoint.updated")
    assert entry.before == {"description": "old", "rate_limit": None, "headers": "[hidden]"}
    assert entry.after == {"description": "new", "rate_limit": 5, "headers": "[hidden]"}
    world.caller.patch(f"/api/v1/webhook-endpoints/{made}", json=body)
    assert len(world.entries("webhook.endpoint.updated")) == 1, "what changed nothing is not told"


def test_an_import_tells_of_each_endpoint(world):
    known = world.endpoint(uid="known", description="old")
    items = [{"uid": "known", "description": "new"}, {"url": "https://127.0.0.1/y", "headers": {"Authorization": "z"}}]
    answered = world.caller.post("/api/v1/webhook-endpoint-import", json={"endpoints": items})
    assert answered.status_code == 200, answered.text
    [updated] = world.entries("webhook.endpoint.updated")
    assert (updated.object_id, updated.before, updated.after) == (known, {"description": "old"}, {"description": "new"})
    made = world.entries("webhook.endpoint.created")[-1]
    assert (made.after["url"], made.after["headers"]) == ("https://127.0.0.1/y", "[hidden]")


def test_what_is_rolled_back_leaves_no_entry(world, monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("after the record")

    monkeypatch.setattr(webhooks.CreatedEndpoint, "__init__", broken)
    with pytest.raises(RuntimeError):
        webhooks.create_endpoint(webhooks.NewEndpoint(url="https://127.0.0.1/x"), team_id=world.caller.team_id)
    assert world.entries("webhook.endpoint.created") == []
    with suppress(ZeroDivisionError), transaction("auth") as session:
        audit.record(session, "team.renamed", "team_x", team_id="team_x", after={"name": "x"})
        _ = 1 / 0
    assert world.entries("team.renamed") == []


def test_a_repeat_by_its_idempotency_key_is_told_once(world):
    for _ in range(2):
        world.post("/holds", {"name": "h", "metadata": {"a": "1"}}, headers={"Idempotency-Key": "k"})
    assert len(world.entries("hold.created")) == 1


def test_a_sign_in_without_an_account_is_in_the_platforms_own_log(world, capsys):
    body = {"email": "nobody@example.test", "password": NEW_PASSWORD}
    world.owner.post("/api/v1/auth/sign-in", json=body)
    [entry] = world.entries("user.sign_in_failed")
    assert (entry.team_id, entry.object_id, entry.after["reason"]) == (PLATFORM, "nobody@example.test", "no account")
    assert run(["audit", "list", "--platform", "--action", "user.*", "--since", "2026-01-01T00:00:00Z"]) == 0
    assert "user.sign_in_failed  user nobody@example.test  anonymous  " in capsys.readouterr().out
    assert run(["audit", "list", "--platform", "--until", "2026-01-01T00:00:00"]) == 2


def test_whoever_has_the_password_and_not_the_second_factor_leaves_a_trace(world):
    people.set_second_factor(world.person)
    for code in ({}, {"code": "000000"}):
        body = {"email": world.person.email, "password": PASSWORD, **code}
        assert world.browser().post("/api/v1/auth/sign-in", json=body).status_code == 401
    told = [one.after["reason"] for one in world.entries("user.sign_in_failed")]
    assert told == ["second-factor-needed", "code"]


def test_a_members_sign_in_is_in_the_log_of_each_of_their_teams(world):
    member = world.member()
    member.post("/api/v1/auth/sign-in", json={"email": member.person.email, "password": PASSWORD})
    found = [one for one in world.entries("user.signed_in") if one.object_id == member.person.id]
    assert world.owner.team in {one.team_id for one in found}
    assert teams_of(member.person.id) == {one.team_id for one in found}


def test_a_failed_sign_in_is_one_row_until_it_is_in_the_log_of_each_team_once_and_at_its_time(world):
    member = world.member()
    body = {"email": member.person.email, "password": NEW_PASSWORD}
    assert world.browser().post("/api/v1/auth/sign-in", json=body).status_code == 401
    with transaction("auth") as session:
        assert session.execute(text("SELECT count(*) FROM audit_of_users")).scalar() == 1
        assert session.query(EntryRow).filter_by(action="user.sign_in_failed").all() == []
    with ThreadPoolExecutor(4) as pool:  # several dispatchers
        assert sum(pool.map(lambda _: duties.spread_entries(), range(4))) == 1
    found = world.entries("user.sign_in_failed")
    assert {one.team_id for one in found} == teams_of(member.person.id)
    assert len(found) == len({one.id for one in found}) == 2
    for one in found:
        assert (one.object_id, one.after["reason"]) == (member.person.id, "password")
        assert timedelta(0) <= made_at(one.id) - one.at.replace(microsecond=0) < timedelta(seconds=2)
        page = audit.list_entries(Filter(action="user.sign_in_failed", since=one.at), team_id=one.team_id)
        assert [entry.id for entry in page.items] == [one.id]


def failures(person, times):
    """Failed sign-ins of somebody, noted as the dispatcher finds them."""
    for _ in range(times):
        with transaction("auth") as session:
            trail.note_failed_sign_in(session, person.email, reason="code", address="127.0.0.1", user_agent="")


def test_what_one_run_tells_teams_of_failed_sign_ins_is_bounded_in_entries(db, monkeypatch):
    """Whoever is in many teams does not hold up what else the dispatcher does."""
    busy, other = people.sign_up(), people.sign_up()
    for number in range(3):
        members.create_team(busy.id, f"team {number}")
    failures(busy, 3)
    failures(other, 2)
    failures(people.Person(id="", email="nobody@example.test"), 1)
    monkeypatch.setattr(duties, "ENTRIES", 6)
    reads, real = [], user_queries.list_team_ids_of
    monkeypatch.setattr(user_queries, "list_team_ids_of", lambda *args: reads.append(1) or real(*args))
    written, done = [], []
    while not done or done[-1]:
        done.append(duties.spread_entries())
        with transaction("auth") as session:
            written.append(session.query(EntryRow).filter_by(action="user.sign_in_failed").count())
    assert (done, written) == ([1, 1, 3, 1, 0], [4, 8, 14, 15, 15])
    assert len(reads) == 4  # one for each run that finds anything, whoever it is about
    with transaction("auth") as session:
        rows = session.query(EntryRow).filter_by(action="user.sign_in_failed")
        told = Counter((row.object_id, row.team_id) for row in rows)
    assert told == (
        {(busy.id, team_id): 3 for team_id in teams_of(busy.id)}
        | {(other.id, team_id): 2 for team_id in teams_of(other.id)}
        | {("nobody@example.test", PLATFORM): 1}
    )


def test_a_failed_sign_in_of_somebody_in_more_teams_than_a_run_tells_is_told_by_itself(db, monkeypatch):
    person = people.sign_up()
    members.create_team(person.id, "Acme")
    failures(person, 2)
    monkeypatch.setattr(duties, "ENTRIES", 1)
    assert [duties.spread_entries() for _ in range(3)] == [1, 1, 0]


def test_a_field_that_no_list_names_cannot_be_recorded(db):
    with transaction("auth") as session, pytest.raises(ValueError, match="hash is neither"):
        audit.record(session, "key.created", "key_x", team_id="t", after={"hash": "x"})


def test_values_are_bounded_and_mean_the_same_to_every_reader(db):
    with transaction("auth") as session:
        after = {"name": "x" * 5_000, "overlap": 60.0, "expires_at": None, "prefix": 2**60}
        audit.record(session, "key.created", "key_x", team_id="t", after=after)
    with transaction("auth") as session:
        [found] = session.execute(text("SELECT after FROM audit_entries")).scalars()
    assert found["name"].keys() == {"characters", "sha256"}
    assert (found["overlap"], type(found["overlap"]), found["prefix"]) == (60, int, str(2**60))
