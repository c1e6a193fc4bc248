"""Teams: those of the user, and the one that a request is about, with its members and invitations."""

from typing import Any

from flask import Response, json

from agora.identity import invitations, members
from agora.identity.roles import Role
from api.auth import SELF, principal, scope, team_id, user_id
from api.blueprint import Blueprint
from api.conditions import expected
from api.idempotency import idempotency_key, mark_replayed
from api.schemas.common import Problem, Schema
from api.schemas.sign_in import TokenIn
from api.schemas.teams import (
    InvitationIn,
    InvitationOut,
    InvitationsOut,
    MemberOut,
    MembersOut,
    RoleIn,
    TeamIn,
    TeamOut,
    TeamsOut,
)
from api.v1.sign_in import device

TEAMS, INVITATIONS = "POST /api/v1/teams", "POST /api/v1/team/invitations"
CREATED = 201
_team, _invitation = TeamOut(), InvitationOut()

teams = Blueprint("teams", __name__, url_prefix="/api/v1/teams", description="The teams of the user.")
team = Blueprint("team", __name__, url_prefix="/api/v1/team", description="The team that the request is about.")


@teams.get("")
@scope(SELF)
@teams.response(200, TeamsOut)
def list_teams() -> Any:
    """The teams that the user is a member of. `Agora-Team` chooses one for a request."""
    return {"items": members.list_teams(user_id())}


@teams.post("")
@scope(SELF)
@teams.arguments(TeamIn)
@teams.response(201, TeamOut)
@teams.alt_response(409, schema=Problem, description="The user is in 100 teams, and makes no other one.")
def create_team(fields: dict[str, Any]) -> Response:
    """Make a team; the user owns it. Who is in 100 teams makes no other one.

    With `Idempotency-Key` a repeat gets the team that the first one made.
    """
    made, replayed = members.create_team(
        user_id(), fields["name"], idempotency=idempotency_key(TEAMS), team_id=team_id()
    )  # fmt: skip
    return _created(_team, made, replayed)


@teams.post("/accept")
@scope(SELF)
@teams.arguments(TokenIn)
@teams.response(200, TeamOut)
def accept(fields: dict[str, Any]) -> Any:
    """Join a team, with the token of an invitation to the user's own address."""
    return invitations.accept(fields["token"], user_id=user_id())


@team.get("")
@scope("team:read")
@team.response(200, TeamOut)
def get_team() -> Any:
    """The team: that of the key, or the one that `Agora-Team` names."""
    return members.get_team(team_id(), principal().role)


@team.patch("")
@scope("team:manage")
@team.guarded
@team.arguments(TeamIn)
@team.response(200, TeamOut)
def rename_team(fields: dict[str, Any]) -> Any:
    """Change its name."""
    return members.rename_team(team_id(), fields["name"], principal().role, expected=expected())


@team.get("/members")
@scope("team:read")
@team.response(200, MembersOut)
def list_members() -> Any:
    """Its members, the first to come first."""
    return {"items": members.list_members(team_id())}


@team.get("/members/<member_id>")
@scope("team:read")
@team.response(200, MemberOut)
@team.alt_response(404, schema=Problem, description="There is no such member.")
def get_member(member_id: str) -> Any:
    """A member."""
    return members.get_member(team_id(), member_id)


@team.patch("/members/<member_id>")
@scope("team:manage")
@team.guarded
@team.arguments(RoleIn)
@team.response(200, MemberOut)
@team.alt_response(404, schema=Problem, description="There is no such member.")
@team.alt_response(409, schema=Problem, description="The last owner stays one.")
def change_role(fields: dict[str, Any], member_id: str) -> Any:
    """Give a member another role."""
    return members.change_role(team_id(), member_id, Role(fields["role"]), expected=expected())


@team.delete("/members/<member_id>")
@scope("team:manage")
@team.guarded
@team.response(204)
@team.alt_response(404, schema=Problem, description="There is no such member.")
@team.alt_response(409, schema=Problem, description="The last owner stays.")
def remove_member(member_id: str) -> None:
    """Take a member out."""
    members.remove_member(team_id(), member_id, expected=expected())


@team.post("/leave")
@scope(SELF)
@team.response(204)
@team.alt_response(409, schema=Problem, description="The last owner stays.")
def leave() -> None:
    """Leave the team that `Agora-Team` names."""
    members.remove_member(team_id(), user_id())


@team.get("/invitations")
@scope("team:manage")
@team.response(200, InvitationsOut)
def list_invitations() -> Any:
    """Open invitations, the newest first."""
    return {"items": invitations.list_invitations(team_id())}


@team.post("/invitations")
@scope("team:manage")
@team.arguments(InvitationIn)
@team.response(201, InvitationOut)
@team.alt_response(409, schema=Problem, description="They are a member.")
def invite(fields: dict[str, Any]) -> Response:
    """Invite somebody by mail, for 14 days. A second invitation of an address replaces the first.

    With `Idempotency-Key` a repeat gets the first one, and no other mail is sent.
    """
    made, replayed = invitations.invite(
        team_id(), fields["email"], Role(fields["role"]), by=principal().actor_id, address=device().address,
        idempotency=idempotency_key(INVITATIONS),
    )  # fmt: skip
    return _created(_invitation, made, replayed)


def _created(schema: Schema, made: Any, replayed: bool) -> Response:
    response = Response(json.dumps(schema.dump(made)), status=CREATED, content_type="application/json")
    return mark_replayed(response, replayed)


@team.delete("/invitations/<invitation_id>")
@scope("team:manage")
@team.response(204)
@team.alt_response(404, schema=Problem, description="There is no such open invitation.")
def revoke_invitation(invitation_id: str) -> None:
    """Take an invitation back."""
    invitations.revoke_invitation(team_id(), invitation_id)
