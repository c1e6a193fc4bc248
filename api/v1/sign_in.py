"""Accounts: sign-up, sign-in, new tokens, sign-out, forgotten passwords. Answers tell nothing of who has an account."""

from typing import Any

from flask import request

from agora.identity import invitations, sessions, sign_in, users
from agora.identity.sessions import Device
from api.address import client_address
from api.auth import SELF, principal, scope, user_id
from api.blueprint import Blueprint
from api.schemas.common import Problem
from api.schemas.sign_in import EmailIn, RefreshIn, ResetIn, SignInIn, SignUpIn, TokensOut, UserOut, VerifyIn
from api.schemas.teams import AcceptAsNewIn

blueprint = Blueprint("sign-in", __name__, url_prefix="/api/v1/auth", description="Accounts, sign-in and sessions.")
OPEN = blueprint.doc(security=[])
"""What needs no credentials: it leads to some."""


def device() -> Device:
    """Where the request came from."""
    return Device(address=client_address(), user_agent=request.headers.get("User-Agent", ""))


@blueprint.post("/sign-up")
@OPEN
@blueprint.arguments(SignUpIn)
@blueprint.response(202, description="A mail is on its way, whether there was an account or not.")
@blueprint.alt_response(403, schema=Problem, description="The platform takes users by invitation only.")
def sign_up(fields: dict[str, Any]) -> None:
    """Make an account; the mail has the token that confirms its address."""
    users.sign_up(**fields, address=device().address)


@blueprint.post("/verify-email")
@OPEN
@blueprint.arguments(VerifyIn)
@blueprint.response(200, UserOut)
def verify_email(fields: dict[str, Any]) -> Any:
    """Confirm an address with the token that was mailed to it, and the password that the account was made with."""
    return users.verify_email(fields["token"], fields["password"], address=client_address())


@blueprint.post("/verify-email/again")
@OPEN
@blueprint.arguments(EmailIn)
@blueprint.response(
    202, description="If there is such an account, and its address is not confirmed, a mail is on its way."
)
def ask_to_verify(fields: dict[str, Any]) -> None:
    """Ask for that mail once more."""
    users.ask_to_verify(fields["email"], address=device().address)


@blueprint.post("/sign-in")
@OPEN
@blueprint.arguments(SignInIn)
@blueprint.response(200, TokensOut)
@blueprint.alt_response(401, schema=Problem, description="Something is wrong, or `second-factor-needed`.")
@blueprint.alt_response(403, schema=Problem, description="`email-unverified`.")
def sign_in_user(fields: dict[str, Any]) -> Any:
    """Begin a session."""
    return sign_in.sign_in(fields["email"], fields["password"], device(), code=fields["code"])


@blueprint.post("/refresh")
@OPEN
@blueprint.arguments(RefreshIn)
@blueprint.response(200, TokensOut)
@blueprint.alt_response(
    401, schema=Problem, description="Unknown, run out, or used before: then its session has ended."
)
def refresh(fields: dict[str, Any]) -> Any:
    """New tokens for a refresh token, which is then used up."""
    return sessions.refresh(fields["refresh_token"])


@blueprint.post("/sign-out")
@scope(SELF)
@blueprint.response(204)
def sign_out() -> None:
    """End this session at once: neither of its tokens works any more."""
    sessions.end(principal().session_id or "", user_id=user_id())


@blueprint.post("/accept-invitation")
@OPEN
@blueprint.arguments(AcceptAsNewIn)
@blueprint.response(201, UserOut)
@blueprint.alt_response(
    409, schema=Problem, description="There is an account with this address: sign in, and accept then."
)
def accept_as_new(fields: dict[str, Any]) -> Any:
    """Make an account with the token of an invitation, and join the team."""
    return invitations.accept_as_new(**fields, address=client_address())


@blueprint.post("/password-reset")
@OPEN
@blueprint.arguments(EmailIn)
@blueprint.response(202, description="If there is such an account, a mail is on its way.")
def ask_to_reset(fields: dict[str, Any]) -> None:
    """Ask for a token to set a new password."""
    users.ask_to_reset(fields["email"], address=device().address)


@blueprint.post("/password-reset/confirm")
@OPEN
@blueprint.arguments(ResetIn)
@blueprint.response(204)
def reset_password(fields: dict[str, Any]) -> None:
    """Set a new password; every session ends."""
    users.reset_password(fields["token"], fields["password"], address=client_address())
