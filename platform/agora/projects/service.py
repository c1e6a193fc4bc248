"""Record and read projects."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy.orm import Session

from agora.db.session import transaction
from agora.editions import Edited
from agora.errors import NotFound
from agora.events.types import NewEvent
from agora.ids import is_id, new_id
from agora.jobs.chronicle import record_for_team
from agora.language.ports import CANDIDATES, CONTRADICTIONS, Candidate, Contradiction
from agora.paging import NEWEST_FIRST, Page, Span, cut
from agora.projects import events, queries, share_queries
from agora.projects.access import Access, reach
from agora.projects.models import ProjectRow, SpecificationRow
from agora.projects.scoring import Scores
from agora.quotas.room import check_project


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What was recorded: ids and counts."""

    project_id: str
    session_id: str
    specifications: int
    conflicts: int
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Project(Edited):
    """A project as people see it."""

    HAPPENS: ClassVar[frozenset[str]] = frozenset(
        {"status", "maturity", "coverage", "access", "specifications", "conflicts"}
    )  # fmt: skip

    id: str
    name: str
    status: str
    phase: str
    maturity: float
    coverage: float
    created_at: datetime
    team_id: str
    """The team that it belongs to."""
    access: Access
    """What the team that asks may do with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectDetail(Project):
    """A project, with how many current specifications and open conflicts it has."""

    specifications: int
    conflicts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Specification(Edited):
    """A specification; those of a list are current."""

    id: str
    category: str
    key: str
    value: str
    content: str
    confidence: float
    reasoning: str
    analyst: str
    source: Mapping[str, Any]
    status: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenConflict:
    """Two statements that cannot both hold, and about which nobody has decided."""

    id: str
    kind: str
    subject: str
    severity: str
    left: Mapping[str, Any]
    right: Mapping[str, Any]
    explanation: str
    created_at: datetime


def record_project(
    session: Session,
    *,
    team_id: str,
    origin: str,
    name: str,
    title: str,
    candidates: Sequence[Candidate],
    contradictions: Sequence[Contradiction],
    scores: Scores,
) -> Recorded:
    """Record a project with one session and what was found in its document, in the caller's transaction.

    ``origin`` is the root job: when it has recorded its project already, that one is returned and nothing is written.
    Whoever commits rings for the deliveries of its events if the session ``owes_ring``; the engine does.

    Raises QuotaExceeded: the team has as many projects as its tier allows.
    """
    project_id, session_id = new_id("prj"), new_id("ses")
    made = queries.insert_project(
        session, team_id=team_id, project_id=project_id, origin=origin, name=name, maturity=scores.maturity,
        coverage=scores.coverage,
    )  # fmt: skip
    if made:
        check_project(session, team_id)
        created = events.project_created(project_id, session_id=session_id, job_id=origin, name=name)
        filled = _fill(
            session, project_id, session_id, team_id=team_id, title=title, found=(candidates, contradictions)
        )
        record_for_team(session, created, *filled, *_measured(project_id, scores), team_id=team_id)
    return _known(session, team_id=team_id, origin=origin)


def _fill(
    session: Session, project_id: str, session_id: str, *, team_id: str, title: str,
    found: tuple[Sequence[Candidate], Sequence[Contradiction]],
) -> list[NewEvent]:  # fmt: skip
    """Record a session with what was found in it; the events of that."""
    queries.insert_session(
        session, team_id=team_id, project_id=project_id, session_id=session_id, kind="document", title=title,
        status="completed",
    )  # fmt: skip
    specifications = [_specification(one, project_id, session_id) for one in found[0]]
    conflicts = [_conflict(one, project_id) for one in found[1]]
    queries.insert_specifications(session, team_id=team_id, rows=specifications)
    queries.insert_conflicts(session, team_id=team_id, rows=conflicts)
    return [
        *(events.specification_created(row) for row in specifications),
        *(events.conflict_opened(row) for row in conflicts),
    ]


def _measured(project_id: str, scores: Scores) -> list[NewEvent]:
    """A project begins with figures of 0."""
    if not (scores.maturity or scores.coverage):
        return []
    return [events.quality_changed(project_id, maturity=scores.maturity, coverage=scores.coverage, previous=None)]


def _known(session: Session, *, team_id: str, origin: str) -> Recorded:
    row = queries.find_project_of(session, team_id=team_id, origin=origin)
    if row is None:
        raise NotFound(f"job {origin} has recorded no project")
    return Recorded(
        project_id=row.id,
        session_id=queries.find_sessions(session, team_id=team_id, project_id=row.id)[0].id,
        specifications=len(queries.list_specifications(session, team_id=team_id, project_id=row.id)),
        conflicts=len(queries.list_conflicts(session, team_id=team_id, project_id=row.id)),
        recorded_at=row.created_at,
    )


def _specification(one: Candidate, project_id: str, session_id: str) -> dict[str, Any]:
    span = asdict(one.span) if one.span else {}
    return {
        "id": new_id("spc"),
        "project_id": project_id,
        "session_id": session_id,
        "category": one.category,
        "key": one.key,
        "value": one.value,
        "content": one.content,
        "confidence": one.confidence,
        "reasoning": one.reasoning,
        "analyst": one.analyst,
        "source": {"kind": "document", "heading": one.heading, **span},
    }


def _conflict(one: Contradiction, project_id: str) -> dict[str, Any]:
    left, right = CANDIDATES.dump_python([one.left, one.right], mode="json")
    return {
        "id": new_id("cfl"),
        "project_id": project_id,
        "kind": one.kind,
        "subject": one.subject,
        "severity": one.severity,
        "left": left,
        "right": right,
        "explanation": one.explanation,
    }


def get_project(project_id: str, *, team_id: str) -> ProjectDetail:
    """A project that the team can see. Raises NotFound."""
    with transaction() as session:
        reached = reach(session, project_id, team_id=team_id)
        row = _find(session, project_id, team_id=reached.team_id)
        specifications, conflicts = share_queries.count_of(session, team_id=row.team_id, project_id=row.id)
        shown = asdict(view(row, reached.access))
        return ProjectDetail(**shown, specifications=specifications, conflicts=conflicts)


def list_projects(
    *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST
) -> Page[Project]:  # fmt: skip
    """The projects of a team and those that are shared with it. Raises Invalid."""
    span = Span.of_ids("prj", limit=limit, cursor=cursor, sort=sort)
    with transaction() as session:
        rows = share_queries.list_reachable(session, team_id=team_id, span=span)
        return cut([view(row, Access(access or Access.OWN)) for row, access in rows], span)


def _find(session: Session, project_id: str, *, team_id: str) -> ProjectRow:
    found = queries.find_project(session, team_id=team_id, project_id=project_id)
    if found is None:
        raise NotFound(f"there is no project {project_id}")
    return found


def view(row: ProjectRow, access: Access) -> Project:
    """A project as its row is."""
    return Project(
        id=row.id, name=row.name, status=row.status, phase=row.phase, maturity=row.maturity, coverage=row.coverage,
        created_at=row.created_at, team_id=row.team_id, access=access,
    )  # fmt: skip


def list_specifications(project_id: str, *, team_id: str) -> list[Specification]:
    """The current specifications of a project, in the order in which they came to be. Raises NotFound."""
    with transaction() as session:
        owner = reach(session, project_id, team_id=team_id).team_id
        rows = queries.list_specifications(session, team_id=owner, project_id=project_id)
        return [specification(row) for row in rows]


def get_specification(project_id: str, specification_id: str, *, team_id: str) -> Specification:
    """A specification of a project, also one that is superseded or rejected. Raises NotFound."""
    with transaction() as session:
        owner = reach(session, project_id, team_id=team_id).team_id
        row = None
        if is_id(specification_id, "spc"):
            row = queries.find_specification(
                session, team_id=owner, project_id=project_id, specification_id=specification_id
            )
        if row is None:
            raise NotFound(f"the project has no specification {specification_id}")
        return specification(row)


def specification(row: SpecificationRow) -> Specification:
    """A specification as its row is."""
    return Specification(**{one.name: getattr(row, one.name) for one in fields(Specification)})


def list_conflicts(project_id: str, *, team_id: str) -> list[OpenConflict]:
    """The open conflicts of a project. Raises NotFound."""
    with transaction() as session:
        owner = reach(session, project_id, team_id=team_id).team_id
        rows = queries.list_conflicts(session, team_id=owner, project_id=project_id)
        return [OpenConflict(**{one.name: getattr(row, one.name) for one in fields(OpenConflict)}) for row in rows]


def candidates_of(project_id: str, *, team_id: str) -> list[Candidate]:
    """The current specifications of a project, as the analyst takes them. Raises NotFound."""
    with transaction() as session:
        owner = reach(session, project_id, team_id=team_id).team_id
        rows = queries.list_specifications(session, team_id=owner, project_id=project_id)
        return CANDIDATES.validate_python([_candidate(row) for row in rows])


def _candidate(row: Any) -> dict[str, Any]:
    source = row.source
    span = {name: source.get(name) for name in ("start", "end", "page")} if "start" in source else None
    return {
        "category": row.category, "key": row.key, "value": row.value, "content": row.content,
        "confidence": row.confidence, "reasoning": row.reasoning, "analyst": row.analyst, "span": span,
        "heading": source.get("heading", ""),
    }  # fmt: skip


def conflicts_of(project_id: str, *, team_id: str) -> list[Contradiction]:
    """The open conflicts of a project. Raises NotFound."""
    with transaction() as session:
        owner = reach(session, project_id, team_id=team_id).team_id
        rows = queries.list_conflicts(session, team_id=owner, project_id=project_id)
        found = [
            {"kind": r.kind, "subject": r.subject, "severity": r.severity, "left": r.left, "right": r.right,
             "explanation": r.explanation}
            for r in rows
        ]  # fmt: skip
        return CONTRADICTIONS.validate_python(found)
