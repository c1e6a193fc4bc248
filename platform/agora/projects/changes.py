"""Changes to projects: each with its event, in one transaction; whoever listens is rung for after it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from agora import broker
from agora.audit import service as audit
from agora.db.session import transaction
from agora.editions import ANYTHING, Expected
from agora.errors import IllegalTransition, NotFound, invalid_field
from agora.ids import is_id, new_id
from agora.jobs.chronicle import record_for_team
from agora.projects import events, queries, share_queries
from agora.projects.access import Access, reach
from agora.projects.models import ConflictRow, ProjectRow, SpecificationRow
from agora.projects.service import Project, specification, view
from agora.projects.states import (
    CONFLICT_TRANSITIONS,
    PHASE_TRANSITIONS,
    SPECIFICATION_TRANSITIONS,
    ConflictState,
    Phase,
    SpecificationState,
    may_become,
)

MAX_NAME = 200
MAX_TEXT = 10_000
MOST_MATURE = 100
PERSON = "person"
"""The analyst of what a person wrote."""


def update_project(project_id: str, *, team_id: str, name: str, expected: Expected = ANYTHING) -> Project:
    """Give a project another name. Raises NotFound, Invalid, PreconditionFailed."""
    _check_text("name", name, MAX_NAME)
    with transaction() as session:
        row, access = _hold_project(session, project_id, team_id=team_id)
        expected.check(view(row, access))
        rings = False
        if row.name != name:
            old, new = {"name": row.name}, {"name": name}
            audit.record(session, "project.updated", row.id, team_id=row.team_id, before=old, after=new)
            queries.set_project(session, team_id=row.team_id, project_id=row.id, values={"name": name})
            session.refresh(row)
            rings = record_for_team(session, events.project_updated(row, ["name"]), team_id=row.team_id)
        found = view(row, access)
    _ring(rings)
    return found


def set_phase(project_id: str, phase: Phase, *, team_id: str, expected: Expected = ANYTHING) -> Project:
    """Move a project one phase on, or back to an earlier one; the phase that it is in changes nothing.

    Raises:
        NotFound: the team can see no such project.
        Forbidden: it is shared with the team for reading only.
        IllegalTransition: the phase is further away.
        PreconditionFailed: it is not as expected.
    """
    with transaction() as session:
        row, access = _hold_project(session, project_id, team_id=team_id)
        expected.check(view(row, access))
        before, sources, rings = row.phase, may_become(PHASE_TRANSITIONS, phase), False
        if before != phase:
            if not queries.move_project(session, team_id=row.team_id, project_id=row.id, phase=phase, sources=sources):
                message = f"project {project_id} is in {before}; only from {', '.join(sources)} it can go to {phase}"
                raise IllegalTransition(message, state=before, allowed=sorted(PHASE_TRANSITIONS[Phase(before)]))
            session.refresh(row)
            happened = events.phase_changed(row.id, source=before, target=phase)
            rings = record_for_team(session, happened, team_id=row.team_id)
            old, new = {"phase": before}, {"phase": phase}
            audit.record(session, "project.phase_changed", row.id, team_id=row.team_id, before=old, after=new)
        found = view(row, access)
    _ring(rings)
    return found


def set_scores(project_id: str, *, team_id: str, maturity: float, coverage: float) -> Project:
    """Note how complete a project is now: maturity 0 to 100, coverage 0 to 1. Raises NotFound, Invalid."""
    _check_range("maturity", maturity, MOST_MATURE)
    _check_range("coverage", coverage, 1)
    with transaction() as session:
        row, access = _hold_project(session, project_id, team_id=team_id)
        before, rings = (row.maturity, row.coverage), False
        if before != (maturity, coverage):
            values = {"maturity": maturity, "coverage": coverage}
            queries.set_project(session, team_id=row.team_id, project_id=row.id, values=values)
            session.refresh(row)
            happened = events.quality_changed(row.id, **values, previous=before)
            rings = record_for_team(session, happened, team_id=row.team_id)
        found = view(row, access)
    _ring(rings)
    return found


def revise_specification(
    specification_id: str, *, team_id: str, value: str | None = None, content: str | None = None,
    confidence: float | None = None, reasoning: str | None = None, analyst: str = PERSON,
    project_id: str | None = None, expected: Expected = ANYTHING,
) -> str:  # fmt: skip
    """Change a current specification; what is None stays as it is. Returns the id of the one that is current now.

    Another ``value`` supersedes it: a new draft takes its place, worded as its value unless ``content`` is given, and
    the old one stays readable. Without one, its wording, confidence or reasoning change where they are.

    Raises:
        NotFound: the team can see no such specification, or it is of another project than ``project_id``.
        Forbidden: its project is shared with the team for reading only.
        Invalid: names the field that is wrong.
        IllegalTransition: it is superseded or rejected.
        PreconditionFailed: it is not as expected.
    """
    given = {"value": value, "content": content, "confidence": confidence, "reasoning": reasoning}
    wanted = _checked({name: one for name, one in given.items() if one is not None})
    with transaction() as session:
        row = _hold_specification(session, specification_id, team_id=team_id, project_id=project_id)
        expected.check(specification(row))
        changed = {name: one for name, one in wanted.items() if getattr(row, name) != one}
        if "value" in changed:
            current, rings = _supersede(session, row, {"content": changed["value"], **wanted, "analyst": analyst})
        else:
            current, rings = row.id, _edit(session, row, changed)
        if changed:
            told = {"project_id": row.project_id, "current_id": current, "fields": sorted(changed)}
            audit.record(session, "specification.revised", row.id, team_id=row.team_id, after=told)
    _ring(rings)
    return current


def _supersede(session: Session, row: SpecificationRow, wanted: Mapping[str, Any]) -> tuple[str, bool]:
    scope = {"team_id": row.team_id}
    made = {
        "id": new_id("spc"), "project_id": row.project_id, "session_id": row.session_id, "category": row.category,
        "key": row.key, "confidence": row.confidence, "reasoning": row.reasoning,
        "source": {"kind": "revision", "of": row.id}, **wanted,
    }  # fmt: skip
    sources = may_become(SPECIFICATION_TRANSITIONS, SpecificationState.SUPERSEDED)
    if not queries.supersede_specification(
        session, specification_id=row.id, superseded_by=made["id"], sources=sources, **scope
    ):
        raise IllegalTransition(f"specification {row.id} is {row.status}", state=row.status, allowed=[])
    queries.insert_specifications(session, rows=[made], **scope)
    return made["id"], record_for_team(
        session, events.specification_superseded(row, superseded_by=made["id"]),
        events.specification_created(made, supersedes=row.id), **scope,
    )  # fmt: skip


def _edit(session: Session, row: SpecificationRow, changed: Mapping[str, Any]) -> bool:
    if not row.current:
        raise IllegalTransition(f"specification {row.id} is {row.status}", state=row.status, allowed=[])
    if not changed:
        return False
    queries.set_specification(session, team_id=row.team_id, specification_id=row.id, values=changed)
    session.refresh(row)
    return record_for_team(session, events.specification_updated(row, sorted(changed)), team_id=row.team_id)


def resolve_conflict(
    conflict_id: str, *, team_id: str, status: ConflictState = ConflictState.RESOLVED, project_id: str | None = None
) -> None:
    """Note that somebody has decided about a conflict, or chose to ignore it.

    Raises:
        NotFound: the team can see no such conflict, or it is of another project than ``project_id``.
        Forbidden: its project is shared with the team for reading only.
        IllegalTransition: it is decided already.
    """
    with transaction() as session:
        owner, row = None, None
        if is_id(conflict_id, "cfl"):
            owner = _owner_of(session, ConflictRow, conflict_id, team_id=team_id, project_id=project_id)
        if owner is not None:
            row = queries.hold_conflict(session, team_id=owner, conflict_id=conflict_id)
        if row is None:
            raise NotFound(f"there is no conflict {conflict_id}")
        sources, before = may_become(CONFLICT_TRANSITIONS, status), row.status
        if not queries.move_conflict(session, team_id=row.team_id, conflict_id=row.id, status=status, sources=sources):
            message = f"conflict {conflict_id} is {row.status} and cannot become {status}"
            raise IllegalTransition(
                message, state=row.status, allowed=sorted(CONFLICT_TRANSITIONS[ConflictState(row.status)])
            )
        rings = record_for_team(session, events.conflict_resolved(row, status=status), team_id=row.team_id)
        old, new = {"status": before}, {"status": status}
        audit.record(session, "conflict.resolved", row.id, team_id=row.team_id, before=old, after=new)
    _ring(rings)


def _hold_project(session: Session, project_id: str, *, team_id: str) -> tuple[ProjectRow, Access]:
    reached = reach(session, project_id, team_id=team_id, needs=Access.WRITE)
    found = queries.hold_project(session, team_id=reached.team_id, project_id=project_id)
    if found is None:
        raise NotFound(f"there is no project {project_id}")
    return found, reached.access


def _owner_of(
    session: Session, kind: type[SpecificationRow | ConflictRow], item_id: str, *, team_id: str, project_id: str | None
) -> str | None:
    """The team whose project a specification or conflict is of, if the team may change it; None: there is none.

    With a ``project_id``: of that project. Raises NotFound, Forbidden.
    """
    found = share_queries.find_project_of(session, team_id=team_id, kind=kind, item_id=item_id)
    if found is None or project_id not in {None, found}:
        return None
    return reach(session, found, team_id=team_id, needs=Access.WRITE).team_id


def _hold_specification(
    session: Session, specification_id: str, *, team_id: str, project_id: str | None
) -> SpecificationRow:
    owner, found = None, None
    if is_id(specification_id, "spc"):
        owner = _owner_of(session, SpecificationRow, specification_id, team_id=team_id, project_id=project_id)
    if owner is not None:
        found = queries.hold_specification(session, team_id=owner, specification_id=specification_id)
    if found is None:
        raise NotFound(f"there is no specification {specification_id}")
    return found


def _checked(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, given in wanted.items():
        if name == "confidence":
            _check_range(name, given, 1)
        else:
            _check_text(name, given, MAX_TEXT)
    return wanted


def _check_text(name: str, given: str, most: int) -> None:
    if not 0 < len(given.strip()) <= most or "\x00" in given:
        message = f"{name} must be a text of 1 to {most} characters without NUL"
        raise invalid_field(f"/{name}", "length", message, given[:most])


def _check_range(name: str, given: float, most: float) -> None:
    if not 0 <= given <= most:
        raise invalid_field(f"/{name}", "range", f"{name} must be 0 to {most}, not {given}", given)


def _ring(rings: bool) -> None:
    if rings:
        broker.ring_deliveries()
