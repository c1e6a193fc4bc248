"""Events of the product: recorded with the change, told to endpoints, and only when something has changed."""

import re
import threading

import pytest
from sqlalchemy.event import listen

from agora import broker
from agora.agents import TransactionContext
from agora.db.engines import engine
from agora.db.session import transaction
from agora.errors import IllegalTransition, Invalid, NotFound
from agora.ids import new_id
from agora.jobs.chronicle import owes_ring
from agora.outcomes import Permanent
from agora.projects import changes, service
from agora.projects.states import (
    CONFLICT_TRANSITIONS,
    PHASE_TRANSITIONS,
    SPECIFICATION_TRANSITIONS,
    ConflictState,
    Phase,
    ProjectState,
    SpecificationState,
)
from tests.support.payloads import check_data
from tests.support.probes import Number, agent_with
from tests.support.projects import FOUND, a_project, candidate, record, scores
from tests.support.rig import Rig
from tests.support.webhooks import Team, sql

MADE = ["project.created", "specification.created", "specification.created", "conflict.opened", "quality.changed"]


@pytest.fixture
def rings(monkeypatch):
    heard = []
    monkeypatch.setattr(broker, "ring_deliveries", lambda: heard.append(1))
    return heard


@pytest.fixture
def team(db, rings):
    return Team()


def happened(team, after=""):
    """What was recorded since, in order, each held against the catalogue."""
    found = sql(
        "SELECT id, type, data FROM events WHERE team_id = :team_id AND job_id IS NULL AND id > :after ORDER BY id",
        team_id=team.id, after=after,
    )  # fmt: skip
    for one in found:
        check_data(one["type"], one["data"])
    return found


def told(team, after=""):
    return [one["type"] for one in happened(team, after)]


def specification(project, key="technology.database"):
    return sql(
        "SELECT * FROM specifications WHERE project_id = :id AND key = :key AND current",
        id=project.project_id, key=key,
    )[0]  # fmt: skip


def conflict(project):
    return sql("SELECT * FROM conflicts WHERE project_id = :id", id=project.project_id)[0]


@pytest.fixture
def project(team):
    return a_project(team.id)


@pytest.fixture
def so_far(team, project):
    """The last event of the project's making."""
    return happened(team)[-1]["id"]


def test_a_new_project_tells_of_itself_and_of_all_that_was_found(team, project):
    created, first, _, opened, quality = happened(team)
    assert told(team) == MADE
    assert created["data"]["project_id"] == first["data"]["project_id"] == project.project_id
    assert created["data"]["session_id"] == project.session_id
    assert created["data"]["links"]["job"] == f"/api/v1/jobs/{created['data']['job_id']}"
    assert (first["data"]["key"], first["data"]["confidence"]) == ("performance.response_time", 0.9)
    assert opened["data"]["conflict_id"] == conflict(project)["id"]
    assert (quality["data"]["maturity"], quality["data"]["coverage"]) == (40, 0.5)
    assert "previous_maturity" not in quality["data"]
    assert not {"value", "content", "explanation"} & set(first["data"]) | set(opened["data"]) & {"left", "right"}


def test_a_retry_of_its_job_tells_nothing_twice_and_figures_of_nothing_are_no_change(team):
    job_id = new_id("job")
    for _ in range(2):
        a_project(team.id, origin=job_id, found=[], conflicts=(), figures=scores(0, 0.0))
    assert told(team) == ["project.created"]


def test_however_many_events_they_are_two_statements(team):
    team.endpoint("https://127.0.0.1/x", event_types=("specification.*",))
    found, written = [candidate(f"features.f{n}", f"thing {n}") for n in range(500)], []

    def note(connection, cursor, statement, *_):
        written.append(re.findall(r"INSERT INTO (events|webhook_deliveries)", statement))

    listen(engine("main"), "before_cursor_execute", note)
    a_project(team.id, found=found, conflicts=())
    assert [tables for tables in written if tables] == [["events"], ["webhook_deliveries"]]
    assert len(team.statuses()) == 50  # one page of them
    assert sql("SELECT count(*) AS n FROM webhook_deliveries")[0]["n"] == 500
    assert len(told(team)) == 502


def test_nothing_is_told_when_the_transaction_is_undone(team):
    team.endpoint("https://127.0.0.1/x")
    with transaction() as session:
        record(session, team.id)
        assert owes_ring(session)
        session.rollback()
    assert (told(team), team.deliveries()) == ([], [])


def in_a_job(rig, team, step):
    rig.team_id = team.id
    job = rig.submit("make")
    rig.run()
    return rig.job(job)


@pytest.mark.parametrize(("types", "rung"), [(["quality.changed"], 1), (["job.progressed"], 0)])
def test_the_step_that_made_the_project_rings_for_its_deliveries(team, rings, monkeypatch, types, rung):
    def make(ctx: TransactionContext[Number]) -> Number:
        record(ctx.session, ctx.team_id, origin=ctx.root_job_id)
        return Number(n=1)

    rig = Rig(monkeypatch, agent_with(make=[(make, {"transactional": True})]))
    monkeypatch.setattr(broker, "ring_deliveries", lambda: rings.append(1))
    team.endpoint("https://127.0.0.1/x", event_types=types)
    job = in_a_job(rig, team, make)
    assert job.status == "succeeded"
    assert told(team) == MADE
    assert (len(team.deliveries()), len(rings)) == (rung, rung)


def test_a_step_that_fails_after_it_tells_nothing(team, rings, monkeypatch):
    def make(ctx: TransactionContext[Number]) -> Number:
        record(ctx.session, ctx.team_id, origin=ctx.root_job_id)
        raise Permanent("no", code="no")

    rig = Rig(monkeypatch, agent_with(make=[(make, {"transactional": True})]))
    monkeypatch.setattr(broker, "ring_deliveries", lambda: rings.append(1))
    team.endpoint("https://127.0.0.1/x", event_types=["project.*", "quality.*"])
    assert in_a_job(rig, team, make).status == "failed"
    assert (told(team), team.deliveries(), rings) == ([], [], [])


def test_a_name_is_changed_once(team, project, so_far, rings):
    team.endpoint("https://127.0.0.1/x", event_types=["project.updated"])
    assert changes.update_project(project.project_id, team_id=team.id, name="Second").name == "Second"
    assert changes.update_project(project.project_id, team_id=team.id, name="Second").name == "Second"
    (updated,) = happened(team, so_far)
    assert (updated["type"], updated["data"]["name"], updated["data"]["changed"]) == (
        "project.updated", "Second", ["name"],
    )  # fmt: skip
    assert (len(team.deliveries()), len(rings)) == (1, 1)


@pytest.mark.parametrize("source", Phase)
@pytest.mark.parametrize("target", Phase)
def test_phases_move_as_the_table_says(team, project, so_far, source, target):
    sql("UPDATE projects SET phase = :phase WHERE id = :id", phase=source, id=project.project_id)
    if source != target and target not in PHASE_TRANSITIONS[source]:
        with pytest.raises(IllegalTransition, match=f"is in {source}"):
            changes.set_phase(project.project_id, target, team_id=team.id)
    else:
        assert changes.set_phase(project.project_id, target, team_id=team.id).phase == target
    moved = [(one["data"]["from"], one["data"]["to"]) for one in happened(team, so_far)]
    assert moved == ([(source, target)] if target in PHASE_TRANSITIONS[source] else [])


def test_figures_are_told_with_what_they_were_and_only_when_they_change(team, project, so_far):
    for _ in range(2):
        found = changes.set_scores(project.project_id, team_id=team.id, maturity=55.5, coverage=0.5)
    assert (found.maturity, found.coverage) == (55.5, 0.5)
    (changed,) = happened(team, so_far)
    assert changed["type"] == "quality.changed"
    assert changed["data"] | {"links": None, "project_id": None} == {
        "maturity": 55.5, "coverage": 0.5, "previous_maturity": 40.0, "previous_coverage": 0.5, "links": None,
        "project_id": None,
    }  # fmt: skip


def test_a_newer_value_supersedes(team, project, so_far):
    old = specification(project)
    newer = changes.revise_specification(old["id"], team_id=team.id, value="MariaDB", confidence=1.0)
    now = specification(project)
    assert (now["id"], now["value"], now["content"], now["confidence"]) == (newer, "MariaDB", "MariaDB", 1.0)
    assert (now["status"], now["analyst"], now["session_id"]) == ("draft", "person", old["session_id"])
    (before,) = sql("SELECT * FROM specifications WHERE id = :id", id=old["id"])
    assert (before["status"], before["current"], before["superseded_by"]) == ("superseded", False, newer)
    superseded, created = happened(team, so_far)
    assert (superseded["type"], created["type"]) == ("specification.superseded", "specification.created")
    assert (superseded["data"]["specification_id"], superseded["data"]["superseded_by"]) == (old["id"], newer)
    assert (created["data"]["specification_id"], created["data"]["supersedes"]) == (newer, old["id"])
    assert len(service.candidates_of(project.project_id, team_id=team.id)) == len(FOUND)


def test_another_wording_or_confidence_is_an_update_and_the_same_is_none(team, project, so_far):
    known = specification(project)
    for _ in range(2):
        same = changes.revise_specification(
            known["id"], team_id=team.id, value=known["value"], content="Data lies in PostgreSQL.", confidence=0.7
        )
    assert same == known["id"]
    (updated,) = happened(team, so_far)
    assert updated["type"] == "specification.updated"
    assert (updated["data"]["changed"], updated["data"]["confidence"]) == (["confidence", "content"], 0.7)


@pytest.mark.parametrize("state", SpecificationState)
def test_only_what_is_current_is_revised(team, project, so_far, state):
    known = specification(project)
    sql(
        "UPDATE specifications SET status = :status, current = :current WHERE id = :id", status=state,
        current=state not in {"superseded", "rejected"}, id=known["id"],
    )  # fmt: skip
    may = SpecificationState.SUPERSEDED in SPECIFICATION_TRANSITIONS[state]
    for wish in ({"content": "other"}, {"value": "other"}):
        if may:
            changes.revise_specification(known["id"], team_id=team.id, **wish)
        else:
            with pytest.raises(IllegalTransition, match=f"is {state}"):
                changes.revise_specification(known["id"], team_id=team.id, **wish)
    assert bool(told(team, so_far)) is may


def test_two_who_revise_at_once_leave_one_current(team, project, so_far):
    known = specification(project)
    start, ended = threading.Barrier(4), []

    def revise(n):
        start.wait(10)
        try:
            ended.append(changes.revise_specification(known["id"], team_id=team.id, value=f"value {n}"))
        except IllegalTransition:
            ended.append(None)

    threads = [threading.Thread(target=revise, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [one for one in ended if one] == [specification(project)["id"]]
    assert len(ended) == 4
    assert told(team, so_far) == ["specification.superseded", "specification.created"]


@pytest.mark.parametrize("source", ConflictState)
@pytest.mark.parametrize("target", ConflictState)
def test_conflicts_are_decided_once(team, project, so_far, source, target):
    known = conflict(project)
    sql("UPDATE conflicts SET status = :status WHERE id = :id", status=source, id=known["id"])
    if target in CONFLICT_TRANSITIONS[source]:
        changes.resolve_conflict(known["id"], team_id=team.id, status=target)
    else:
        with pytest.raises(IllegalTransition, match=f"is {source} and cannot become {target}"):
            changes.resolve_conflict(known["id"], team_id=team.id, status=target)
    moved = target if target in CONFLICT_TRANSITIONS[source] else source
    assert conflict(project)["status"] == moved
    assert [one["data"]["status"] for one in happened(team, so_far)] == ([moved] if moved != source else [])


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (lambda p, s, t: changes.update_project(p, team_id=t, name=" "), "/name"),
        (lambda p, s, t: changes.update_project(p, team_id=t, name="x" * 201), "/name"),
        (lambda p, s, t: changes.set_scores(p, team_id=t, maturity=101, coverage=1), "/maturity"),
        (lambda p, s, t: changes.set_scores(p, team_id=t, maturity=float("nan"), coverage=1), "/maturity"),
        (lambda p, s, t: changes.set_scores(p, team_id=t, maturity=1, coverage=-0.1), "/coverage"),
        (lambda p, s, t: changes.revise_specification(s, team_id=t, value=""), "/value"),
        (lambda p, s, t: changes.revise_specification(s, team_id=t, content="a\x00"), "/content"),
        (lambda p, s, t: changes.revise_specification(s, team_id=t, confidence=1.1), "/confidence"),
    ],
)
def test_a_wrong_value_is_named_and_changes_nothing(team, project, so_far, change, pointer):
    with pytest.raises(Invalid) as refused:
        change(project.project_id, specification(project)["id"], team.id)
    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert told(team, so_far) == []


def test_other_teams_and_other_ids_find_nothing(team, project, so_far):
    stranger = new_id("team")
    known, clash = specification(project)["id"], conflict(project)["id"]
    for call in (
        lambda: changes.update_project(project.project_id, team_id=stranger, name="x"),
        lambda: changes.set_phase(project.project_id, Phase.ANALYSIS, team_id=stranger),
        lambda: changes.set_scores("prj_none", team_id=team.id, maturity=1, coverage=1),
        lambda: changes.revise_specification(known, team_id=stranger, value="x"),
        lambda: changes.revise_specification(project.project_id, team_id=team.id, value="x"),
        lambda: changes.resolve_conflict(clash, team_id=stranger),
        lambda: changes.resolve_conflict("nothing", team_id=team.id),
    ):
        with pytest.raises(NotFound):
            call()
    assert told(team, so_far) == []
    assert service.get_project(project.project_id, team_id=team.id).status == ProjectState.ACTIVE
