"""The events of the product: projects, their specifications and conflicts, and how complete they are."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from agora.events.catalogue_jobs import JOB
from agora.events.declare import EventData, EventType, JobId, Links

ProjectId = Annotated[str, Field(pattern=r"^prj_[0-9a-z]{26}$", description="the project")]
SessionId = Annotated[str, Field(pattern=r"^ses_[0-9a-z]{26}$", description="the sitting in which it came to be")]
SpecificationId = Annotated[str, Field(pattern=r"^spc_[0-9a-z]{26}$", description="the specification")]
ConflictId = Annotated[str, Field(pattern=r"^cfl_[0-9a-z]{26}$", description="the conflict")]
Phase = Literal["discovery", "analysis", "design", "implementation"]
PROJECT: Final = "prj_01m854ggm6fhq8v5n3k2c7r9zs"
SESSION: Final = "ses_01m854ggm6e9rthm4x8p2d5wyb"
SPECIFICATION: Final = "spc_01m854ggm7f2bt6k9w3q5zj8xe"
NEWER: Final = "spc_01m854ggm8fxk4n7c2v9t6qdhr"
CONFLICT: Final = "cfl_01m854ggm7e0s9zq4h6y8k3mfw"


class ProjectData(EventData):
    """What every event of a project says."""

    project_id: ProjectId
    links: Links


class ProjectCreated(ProjectData):
    """A project was made."""

    session_id: SessionId
    job_id: JobId | None = Field(None, description="the root job that made it")
    name: str | None = Field(None, description="its name")
    status: Literal["active"]
    phase: Phase = Field(description="how far it is")


class ProjectUpdated(ProjectData):
    """What a project says of itself was changed."""

    name: str | None = Field(None, description="as it is now")
    status: Literal["active", "completed", "archived"]
    changed: list[Literal["name"]] = Field(description="which fields")


class ProjectPhaseChanged(ProjectData):
    """A project goes on to another phase, or back to an earlier one."""

    source: Phase = Field(alias="from", description="the phase before")
    target: Phase = Field(alias="to", description="the phase now")


class SpecificationData(ProjectData):
    """What every event of a specification says; read its value and wording from the project."""

    specification_id: SpecificationId
    session_id: SessionId
    category: str | None = Field(None, description="what it is about")
    key: str | None = Field(None, description="dotted; at most one specification of a project and key is current")


class SpecificationCreated(SpecificationData):
    """A specification was recorded."""

    status: Literal["draft"]
    confidence: float = Field(ge=0, le=1, description="1 is explicit")
    supersedes: SpecificationId | None = Field(None, description="the one whose value it replaces")


class SpecificationUpdated(SpecificationData):
    """The wording, reasoning or confidence of a specification was changed; its value stays."""

    status: Literal["draft", "approved", "implemented"]
    confidence: float = Field(ge=0, le=1, description="as it is now")
    changed: list[Literal["content", "confidence", "reasoning"]] = Field(description="which fields")


class SpecificationSuperseded(SpecificationData):
    """A specification is no longer current: a newer value of the same key was recorded."""

    status: Literal["superseded"]
    superseded_by: SpecificationId = Field(description="the one that is current now")


class ConflictData(ProjectData):
    """What every event of a conflict says; read the two statements from the project."""

    conflict_id: ConflictId
    kind: Literal["contradiction", "inconsistency", "dependency", "redundancy"]
    subject: Literal["technology", "requirement", "timeline", "resource"]
    severity: Literal["low", "medium", "high", "critical"]


class ConflictOpened(ConflictData):
    """Two statements of a project were found that cannot both hold."""

    status: Literal["open"]


class ConflictResolved(ConflictData):
    """Somebody has decided about a conflict."""

    status: Literal["resolved", "ignored"]


class QualityChanged(ProjectData):
    """The figures of how complete a project is have changed."""

    maturity: float = Field(ge=0, le=100, description="how much of what it should hold it holds")
    coverage: float = Field(ge=0, le=1, description="the share of categories with at least one specification")
    previous_maturity: float | None = Field(None, description="left out at the first measurement")
    previous_coverage: float | None = Field(None, description="likewise")


def _about(collection: str, id_: str) -> dict[str, Any]:
    project = f"/api/v1/projects/{PROJECT}"
    return {"self": f"/api/v1/{collection}/{id_}"} | ({"project": project} if id_ != PROJECT else {})


_PROJECT: Final[dict[str, Any]] = {"project_id": PROJECT, "links": _about("projects", PROJECT)}
_SPECIFICATION: Final = {
    "project_id": PROJECT, "specification_id": SPECIFICATION, "session_id": SESSION, "category": "performance",
    "key": "performance.response_time", "links": _about("specifications", SPECIFICATION),
}  # fmt: skip
_CONFLICT: Final = {
    "project_id": PROJECT, "conflict_id": CONFLICT, "kind": "contradiction", "subject": "technology",
    "severity": "high", "links": _about("conflicts", CONFLICT),
}  # fmt: skip


def _of(kind: str, model: type[EventData], common: dict[str, Any], /, **more: Any) -> EventType:
    return EventType(name=kind, model=model, example=common | more)


PRODUCT: Final = (
    _of(
        "project.created", ProjectCreated, _PROJECT, session_id=SESSION, job_id=JOB, name="Loan desk", status="active",
        phase="discovery", links=_PROJECT["links"] | {"job": f"/api/v1/jobs/{JOB}"},
    ),
    _of("project.updated", ProjectUpdated, _PROJECT, name="Loan desk 2", status="active", changed=["name"]),
    _of("project.phase_changed", ProjectPhaseChanged, _PROJECT, **{"from": "discovery", "to": "analysis"}),
    _of("specification.created", SpecificationCreated, _SPECIFICATION, status="draft", confidence=0.9),
    _of(
        "specification.updated", SpecificationUpdated, _SPECIFICATION, status="approved", confidence=1.0,
        changed=["confidence"],
    ),
    _of(
        "specification.superseded", SpecificationSuperseded, _SPECIFICATION, status="superseded", superseded_by=NEWER,
    ),
    _of("conflict.opened", ConflictOpened, _CONFLICT, status="open"),
    _of("conflict.resolved", ConflictResolved, _CONFLICT, status="resolved"),
    _of(
        "quality.changed", QualityChanged, _PROJECT, maturity=64.0, coverage=0.9, previous_maturity=61.0,
        previous_coverage=0.9,
    ),
)  # fmt: skip
