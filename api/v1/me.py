"""What users do about themselves. A key cannot: it is nobody."""

from typing import Any

from agora.identity import recovery, sessions, sign_in, users
from api.auth import SELF, principal, scope, user_id
from api.blueprint import Blueprint
from api.conditions import expected
from api.schemas.common import Problem
from api.schemas.sign_in import (
    CodeIn,
    EnrolIn,
    EnrolledOut,
    PasswordIn,
    RecoveryCodesOut,
    RemoveFactorIn,
    SessionsOut,
    UserOut,
    UserPatch,
)

blueprint = Blueprint("me", __name__, url_prefix="/api/v1/me", description="The user who is signed in.")


@blueprint.get("")
@scope(SELF)
@blueprint.response(200, UserOut)
def get_me() -> Any:
    """Who is signed in."""
    return users.get_user(user_id())


@blueprint.patch("")
@scope(SELF)
@blueprint.guarded
@blueprint.arguments(UserPatch)
@blueprint.response(200, UserOut)
def rename_me(fields: dict[str, Any]) -> Any:
    """Change the name."""
    return users.rename(user_id(), fields["name"], expected=expected())


@blueprint.post("/password")
@scope(SELF)
@blueprint.arguments(PasswordIn)
@blueprint.response(204)
def change_password(fields: dict[str, Any]) -> None:
    """Change the password; every other session ends."""
    session_id = principal().session_id or ""
    users.change_password(user_id(), fields["old_password"], fields["new_password"], session_id=session_id)


@blueprint.post("/second-factor")
@scope(SELF)
@blueprint.arguments(EnrolIn)
@blueprint.response(200, EnrolledOut)
@blueprint.alt_response(422, schema=Problem, description="There is one already.")
def enrol(fields: dict[str, Any]) -> Any:
    """Begin to set a second factor up (TOTP, RFC 6238). It counts once a code has confirmed it."""
    return {"uri": sign_in.enrol_second_factor(user_id(), fields["password"])}


@blueprint.post("/second-factor/confirm")
@scope(SELF)
@blueprint.arguments(CodeIn)
@blueprint.response(200, RecoveryCodesOut)
def confirm(fields: dict[str, Any]) -> Any:
    """Put the second factor in force: from now on, sign-in needs a code. Answers recovery codes, shown this once."""
    codes = sign_in.confirm_second_factor(user_id(), fields["code"], session_id=principal().session_id)
    return {"recovery_codes": codes}


@blueprint.post("/second-factor/recovery-codes")
@scope(SELF)
@blueprint.arguments(EnrolIn)
@blueprint.response(200, RecoveryCodesOut)
@blueprint.alt_response(403, schema=Problem, description="`second-factor-required`: sign in with it first.")
@blueprint.alt_response(409, schema=Problem, description="There is no second factor.")
def renew_recovery_codes(fields: dict[str, Any]) -> Any:
    """Make ten new recovery codes; those before are void."""
    codes = recovery.renew(user_id(), fields["password"], second_factor=principal().second_factor)
    return {"recovery_codes": codes}


@blueprint.post("/second-factor/remove")
@scope(SELF)
@blueprint.arguments(RemoveFactorIn)
@blueprint.response(204)
def remove(fields: dict[str, Any]) -> None:
    """Remove the second factor."""
    sign_in.remove_second_factor(user_id(), fields["password"], fields["code"])


@blueprint.get("/sessions")
@scope(SELF)
@blueprint.response(200, SessionsOut)
def list_sessions() -> Any:
    """Where the user is signed in."""
    return {"items": sessions.list_sessions(user_id())}


@blueprint.delete("/sessions/<session_id>")
@scope(SELF)
@blueprint.response(204)
@blueprint.alt_response(404, schema=Problem, description="The user has no such session.")
def end_session(session_id: str) -> None:
    """End a session at once."""
    sessions.end(session_id, user_id=user_id(), why=sessions.BY_OWNER)
