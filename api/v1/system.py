"""What administrators of the platform do: about all teams and users, and about nothing in a team."""

from datetime import timedelta
from typing import Any

from agora.clock import now
from agora.errors import invalid_field
from agora.identity import administrators
from agora.identity.roles import SystemRole
from agora.jobs import platform_usage
from agora.quotas import standing, tiers
from api.auth import principal, scope, user_id
from api.blueprint import Blueprint
from api.conditions import expected
from api.schemas.common import PageArgs, Problem
from api.schemas.quotas import TeamTierOut, TierIn, TiersOut
from api.schemas.system import (
    AccountOut,
    AccountPage,
    AccountsArgs,
    AdminsOut,
    GrantedOut,
    GrantIn,
    PlatformUsageOut,
    TeamDetailOut,
    TeamPage,
    UsageArgs,
)

MANAGE_ADMINS = "system:admins:manage"
THEIRS = "It is the caller's own account, or an administrator's; or `second-factor-required`."

blueprint = Blueprint(
    "system", __name__, url_prefix="/api/v1/system", description="The platform, for its administrators."
)


@blueprint.get("/teams")
@scope("system:teams:read")
@blueprint.arguments(PageArgs, location="query")
@blueprint.response(200, TeamPage)
def list_teams(query: dict[str, Any]) -> Any:
    """Every team, the newest first."""
    return administrators.list_teams(**query)


@blueprint.get("/teams/<team_id>")
@scope("system:teams:read")
@blueprint.response(200, TeamDetailOut)
@blueprint.alt_response(404, schema=Problem, description="There is no such team.")
def get_team(team_id: str) -> Any:
    """One team: who it is, its tier, and how much of its quotas it uses. Counts end at a million."""
    return standing.standing_of(team_id)


@blueprint.get("/tiers")
@scope("system:teams:read")
@blueprint.response(200, TiersOut)
def list_tiers() -> Any:
    """Every tier, and what teams in it may have."""
    return {"items": tiers.list_tiers()}


@blueprint.get("/teams/<team_id>/tier")
@scope("system:teams:read")
@blueprint.response(200, TeamTierOut)
@blueprint.alt_response(404, schema=Problem, description="There is no such team.")
def get_team_tier(team_id: str) -> Any:
    """The tier of a team, what it may have, and what of that is otherwise than for others there."""
    return tiers.get_team(administrators.get_team(team_id).id)


@blueprint.put("/teams/<team_id>/tier")
@scope("system:tiers:manage")
@blueprint.guarded
@blueprint.arguments(TierIn)
@blueprint.response(200, TeamTierOut)
@blueprint.alt_response(404, schema=Problem, description="There is no such team, or no such tier.")
def put_team_tier(fields: dict[str, Any], team_id: str) -> Any:
    """Put a team into a tier; `otherwise` is what it may have unlike others there. It holds at once."""
    return tiers.move_team(
        administrators.get_team(team_id).id, fields["tier"], fields["otherwise"], keep=False, expected=expected()
    )  # fmt: skip


@blueprint.get("/users")
@scope("system:users:read")
@blueprint.arguments(AccountsArgs, location="query")
@blueprint.response(200, AccountPage)
def list_users(query: dict[str, Any]) -> Any:
    """Every user, the newest first; with `email`, the one with that address."""
    return administrators.list_users(**query)


@blueprint.get("/users/<account_id>")
@scope("system:users:read")
@blueprint.response(200, AccountOut)
@blueprint.alt_response(404, schema=Problem, description="There is no such user.")
def get_user(account_id: str) -> Any:
    """One user."""
    return administrators.get_user(account_id)


def _over_admins() -> bool:
    return principal().may(MANAGE_ADMINS)


@blueprint.post("/users/<account_id>/disable")
@scope("system:users:manage")
@blueprint.response(200, AccountOut)
@blueprint.alt_response(403, schema=Problem, description=THEIRS)
@blueprint.alt_response(404, schema=Problem, description="There is no such user.")
@blueprint.alt_response(409, schema=Problem, description="The last super administrator stays.")
def disable_user(account_id: str) -> Any:
    """Let a user in no more; every session of theirs ends at once."""
    return administrators.set_disabled(account_id, disabled=True, by=user_id(), over_admins=_over_admins())


@blueprint.post("/users/<account_id>/enable")
@scope("system:users:manage")
@blueprint.response(200, AccountOut)
@blueprint.alt_response(403, schema=Problem, description=THEIRS)
@blueprint.alt_response(404, schema=Problem, description="There is no such user.")
def enable_user(account_id: str) -> Any:
    """Let a user in again."""
    return administrators.set_disabled(account_id, disabled=False, by=user_id(), over_admins=_over_admins())


@blueprint.post("/users/<account_id>/remove-second-factor")
@scope("system:users:manage")
@blueprint.response(200, AccountOut)
@blueprint.alt_response(403, schema=Problem, description=THEIRS)
@blueprint.alt_response(404, schema=Problem, description="There is no such user.")
def remove_second_factor(account_id: str) -> Any:
    """Take the second factor of a user away who has lost it; every session of theirs ends at once."""
    return administrators.remove_second_factor(account_id, by=user_id(), over_admins=_over_admins())


@blueprint.get("/admins")
@scope(MANAGE_ADMINS)
@blueprint.response(200, AdminsOut)
def list_admins() -> Any:
    """Who has which system role."""
    return {"items": administrators.list_admins()}


@blueprint.post("/admins")
@scope(MANAGE_ADMINS)
@blueprint.arguments(GrantIn)
@blueprint.response(201, GrantedOut)
@blueprint.alt_response(404, schema=Problem, description="There is no such user.")
@blueprint.alt_response(409, schema=Problem, description="Their account is disabled, or their address not confirmed.")
def grant(fields: dict[str, Any]) -> Any:
    """Give a user a system role. One that they have already stays."""
    return administrators.grant(fields["email"], SystemRole(fields["role"]), by=user_id())


@blueprint.delete("/admins/<account_id>/<role>")
@scope(MANAGE_ADMINS)
@blueprint.response(204)
@blueprint.alt_response(404, schema=Problem, description="The user has no such role.")
@blueprint.alt_response(409, schema=Problem, description="The last super administrator stays.")
def revoke(account_id: str, role: str) -> None:
    """Take a system role away; it counts at once."""
    if role not in set(SystemRole):
        raise invalid_field("/role", "enum", f"role must be one of {', '.join(SystemRole)}", role)
    administrators.revoke(account_id, SystemRole(role))


@blueprint.get("/usage")
@scope("system:usage:read")
@blueprint.arguments(UsageArgs, location="query")
@blueprint.response(200, PlatformUsageOut)
def get_usage(query: dict[str, Any]) -> Any:
    """How much the platform is used: counts of accounts, and of the jobs that were made in the last days."""
    since = now() - timedelta(days=query["days"])
    counts = administrators.count_accounts(since)
    return {"since": since, "accounts": counts, "jobs": platform_usage.count_jobs(since)}
