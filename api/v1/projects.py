"""Projects: those of the caller's team, and those that are shared with it."""

from typing import Any

from flask import url_for

from agora.errors import invalid_field
from agora.projects import changes, service, shares
from agora.projects.access import Access
from agora.projects.states import ConflictState, Phase
from api.auth import principal, scope, team_id
from api.blueprint import Blueprint
from api.conditions import expected, locate, note
from api.schemas.common import PageArgs, Problem
from api.schemas.projects import (
    ConflictsOut,
    DecisionIn,
    ProjectDetailOut,
    ProjectOut,
    ProjectPage,
    ProjectPatch,
    ShareIn,
    ShareOut,
    SharePut,
    SharesOut,
    SpecificationOut,
    SpecificationPatch,
    SpecificationsOut,
)
from api.shaping import listed

OK, CREATED = 200, 201

blueprint = Blueprint(
    "projects", __name__, url_prefix="/api/v1/projects", description="Projects: what jobs have found out."
)
UNSEEN = blueprint.alt_response(404, schema=Problem, description="The team can see no such thing.")
READ_ONLY = blueprint.alt_response(403, schema=Problem, description="It is shared with the team for reading only.")
NOT_OWN = blueprint.alt_response(403, schema=Problem, description="It belongs to another team, which shares it.")
ENDED = blueprint.alt_response(409, schema=Problem, description="Its state does not allow this.")


@blueprint.get("")
@scope("projects:read")
@blueprint.arguments(listed(PageArgs, ProjectOut), location="query")
@blueprint.response(200, ProjectPage)
def list_projects(query: dict[str, Any]) -> Any:
    """List the team's projects and those that are shared with it; `access` tells which is which."""
    return service.list_projects(team_id=team_id(), **query)


@blueprint.get("/<project_id>")
@scope("projects:read")
@blueprint.response(200, ProjectDetailOut)
@UNSEEN
def get_project(project_id: str) -> Any:
    """A project: its phase, its figures, and how much is in it."""
    return service.get_project(project_id, team_id=team_id())


@blueprint.patch("/<project_id>")
@scope("projects:write")
@blueprint.arguments(ProjectPatch)
@blueprint.response(200, ProjectDetailOut)
@blueprint.guarded
@READ_ONLY
@UNSEEN
@ENDED
def update_project(fields: dict[str, Any], project_id: str) -> Any:
    """Give a project another name, or move it to another phase; one of the two in a request."""
    if len(fields) != 1:
        raise invalid_field("/", "exactly-one", "give name or phase, one of them")
    if "name" in fields:
        changes.update_project(project_id, team_id=team_id(), name=fields["name"], expected=expected())
    else:
        changes.set_phase(project_id, Phase(fields["phase"]), team_id=team_id(), expected=expected())
    return service.get_project(project_id, team_id=team_id())


@blueprint.get("/<project_id>/specifications")
@scope("projects:read")
@blueprint.response(200, SpecificationsOut)
@UNSEEN
def list_specifications(project_id: str) -> Any:
    """The current specifications of a project."""
    return {"items": service.list_specifications(project_id, team_id=team_id())}


@blueprint.get("/<project_id>/specifications/<specification_id>")
@scope("projects:read")
@blueprint.response(200, SpecificationOut)
@UNSEEN
def get_specification(project_id: str, specification_id: str) -> Any:
    """A specification, also one that is superseded or rejected."""
    return service.get_specification(project_id, specification_id, team_id=team_id())


@blueprint.patch("/<project_id>/specifications/<specification_id>")
@scope("projects:write")
@blueprint.arguments(SpecificationPatch)
@blueprint.response(200, SpecificationOut, description="The specification that is there now.")
@blueprint.guarded
@READ_ONLY
@UNSEEN
@ENDED
def revise_specification(fields: dict[str, Any], project_id: str, specification_id: str) -> Any:
    """Change a specification. Another value makes a new one, which is answered: `Content-Location` says where it is."""
    current = changes.revise_specification(
        specification_id, team_id=team_id(), project_id=project_id, expected=expected(), **fields
    )
    found = service.get_specification(project_id, current, team_id=team_id())
    locate(url_for("projects.get_specification", project_id=project_id, specification_id=current))
    return found


@blueprint.get("/<project_id>/conflicts")
@scope("projects:read")
@blueprint.response(200, ConflictsOut)
@UNSEEN
def list_conflicts(project_id: str) -> Any:
    """The open conflicts of a project."""
    return {"items": service.list_conflicts(project_id, team_id=team_id())}


@blueprint.post("/<project_id>/conflicts/<conflict_id>/resolve")
@scope("projects:write")
@blueprint.arguments(DecisionIn)
@blueprint.response(204)
@READ_ONLY
@UNSEEN
@ENDED
def resolve_conflict(fields: dict[str, Any], project_id: str, conflict_id: str) -> None:
    """Note that somebody has decided about a conflict, or chose to ignore it."""
    status = ConflictState(fields["status"])
    changes.resolve_conflict(conflict_id, team_id=team_id(), project_id=project_id, status=status)


@blueprint.get("/<project_id>/shares")
@scope("projects:share")
@blueprint.response(200, SharesOut)
@NOT_OWN
@UNSEEN
def list_shares(project_id: str) -> Any:
    """With whom a project is shared."""
    return {"items": shares.list_shares(project_id, team_id=team_id())}


@blueprint.get("/<project_id>/shares/<with_team_id>")
@scope("projects:share")
@blueprint.response(200, ShareOut)
@NOT_OWN
@UNSEEN
def get_share(project_id: str, with_team_id: str) -> Any:
    """How a project is shared with a team."""
    return shares.get_share(project_id, with_team_id, team_id=team_id())


@blueprint.put("/<project_id>/shares/<with_team_id>")
@scope("projects:share")
@blueprint.guarded
@blueprint.arguments(SharePut)
@blueprint.response(200, ShareOut, description="It was shared with that team already.")
@blueprint.alt_response(201, schema=ShareOut, description="It is shared with that team now.")
@NOT_OWN
@UNSEEN
def put_share(fields: dict[str, Any], project_id: str, with_team_id: str) -> Any:
    """Share a project with another team, to read or to write; or change how it is shared with it.

    With `If-None-Match: *` it is shared only if it is not yet.
    """
    by, access = principal().actor_id, Access(fields["access"])
    made, is_new = shares.share(
        project_id, with_team_id, access, team_id=team_id(), by=by, expected=expected(), pointer="/with_team_id"
    )
    note(made)
    return made, CREATED if is_new else OK


@blueprint.post("/<project_id>/shares")
@scope("projects:share")
@blueprint.arguments(ShareIn)
@blueprint.response(201, ShareOut)
@NOT_OWN
@UNSEEN
def share(fields: dict[str, Any], project_id: str) -> Any:
    """Share a project with another team, or change how it is shared with it: the older way, without conditions.

    `PUT /api/v1/projects/{project_id}/shares/{with_team_id}` does the same, and tells which of the two it did.
    """
    by, access = principal().actor_id, Access(fields["access"])
    return shares.share(project_id, fields["team_id"], access, team_id=team_id(), by=by)[0]


@blueprint.delete("/<project_id>/shares/<with_team_id>")
@scope("projects:share")
@blueprint.guarded
@blueprint.response(204)
@NOT_OWN
@UNSEEN
def unshare(project_id: str, with_team_id: str) -> None:
    """End a share, at once."""
    shares.unshare(project_id, with_team_id, team_id=team_id(), expected=expected())
