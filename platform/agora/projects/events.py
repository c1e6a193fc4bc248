"""The events of the product, as agora.events.catalogue_product declares their data: ids, states and links."""

from collections.abc import Mapping, Sequence
from typing import Any

from agora.events.types import NewEvent
from agora.projects.models import ConflictRow, ProjectRow, SpecificationRow
from agora.projects.states import ConflictState, Phase, ProjectState, SpecificationState

SPECIFICATION = ("id", "project_id", "session_id", "category", "key")
CONFLICT = ("id", "project_id", "kind", "subject", "severity")
"""What events tell of their rows."""


def project_created(project_id: str, *, session_id: str, job_id: str, name: str) -> NewEvent:
    """A root job has made a project."""
    data = {
        "project_id": project_id, "session_id": session_id, "job_id": job_id, "name": name,
        "status": ProjectState.ACTIVE, "phase": Phase.DISCOVERY,
        "links": {"self": f"/api/v1/projects/{project_id}", "job": f"/api/v1/jobs/{job_id}"},
    }  # fmt: skip
    return NewEvent(type="project.created", data=data)


def project_updated(row: ProjectRow, changed: Sequence[str]) -> NewEvent:
    """What a project says of itself was changed."""
    more = {"name": row.name, "status": row.status, "changed": list(changed)}
    return NewEvent(type="project.updated", data=_project(row.id) | more)


def phase_changed(project_id: str, *, source: str, target: str) -> NewEvent:
    """A project is in another phase."""
    return NewEvent(type="project.phase_changed", data=_project(project_id) | {"from": source, "to": target})


def quality_changed(
    project_id: str, *, maturity: float, coverage: float, previous: tuple[float, float] | None
) -> NewEvent:
    """A project's figures have changed; ``previous`` are maturity and coverage before, None at the first time."""
    data = _project(project_id) | {"maturity": maturity, "coverage": coverage}
    if previous is not None:
        data |= {"previous_maturity": previous[0], "previous_coverage": previous[1]}
    return NewEvent(type="quality.changed", data=data)


def specification_created(row: Mapping[str, Any], *, supersedes: str | None = None) -> NewEvent:
    """A specification was recorded, as the new row is."""
    data = _specification(row) | {"status": SpecificationState.DRAFT, "confidence": row["confidence"]}
    return NewEvent(type="specification.created", data=data | ({"supersedes": supersedes} if supersedes else {}))


def specification_updated(row: SpecificationRow, changed: Sequence[str]) -> NewEvent:
    """Other fields than the value of a specification were changed."""
    more = {"status": row.status, "confidence": row.confidence, "changed": list(changed)}
    return NewEvent(type="specification.updated", data=_specification(_seen(row, SPECIFICATION)) | more)


def specification_superseded(row: SpecificationRow, *, superseded_by: str) -> NewEvent:
    """Another specification stands for a specification's key now."""
    more = {"status": SpecificationState.SUPERSEDED, "superseded_by": superseded_by}
    return NewEvent(type="specification.superseded", data=_specification(_seen(row, SPECIFICATION)) | more)


def conflict_opened(row: Mapping[str, Any]) -> NewEvent:
    """A conflict was found, as the new row is."""
    return NewEvent(type="conflict.opened", data=_conflict(row) | {"status": ConflictState.OPEN})


def conflict_resolved(row: ConflictRow, *, status: ConflictState) -> NewEvent:
    """Somebody has decided about a conflict."""
    return NewEvent(type="conflict.resolved", data=_conflict(_seen(row, CONFLICT)) | {"status": status})


def _seen(row: SpecificationRow | ConflictRow, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _project(project_id: str) -> dict[str, Any]:
    return {"project_id": project_id, "links": {"self": f"/api/v1/projects/{project_id}"}}


def _specification(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "specification_id": row["id"], "project_id": row["project_id"], "session_id": row["session_id"],
        "category": row["category"], "key": row["key"], "links": _links("specifications", row),
    }  # fmt: skip


def _conflict(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "conflict_id": row["id"], "project_id": row["project_id"], "kind": row["kind"], "subject": row["subject"],
        "severity": row["severity"], "links": _links("conflicts", row),
    }  # fmt: skip


def _links(collection: str, row: Mapping[str, Any]) -> dict[str, str]:
    return {"self": f"/api/v1/{collection}/{row['id']}", "project": f"/api/v1/projects/{row['project_id']}"}
