"""Invitations into a team, by mail: signed, good once, for 14 days, and for the invited address only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.clock import now
from agora.crypto import is_mac, mac
from agora.db.session import transaction
from agora.errors import Conflict, Forbidden, NotFound, invalid_field
from agora.idempotency.keys import IdempotencyKey, earlier
from agora.identity import key_rights, mail, member_queries, passwords, throttle, trail, user_queries
from agora.identity.members import Team, view_team
from agora.identity.models import InvitationRow, MemberRow, TeamRow, UserRow
from agora.identity.roles import Role
from agora.identity.users import User, check_email, check_name, claim_user, view
from agora.ids import is_id, new_id
from agora.quotas.room import check_member

LIVES = timedelta(days=14)
MOST_OPEN = 200
SUBJECT = "You are invited"
PARTS = 3
MANAGE = "team:manage"


@dataclass(frozen=True, kw_only=True, slots=True)
class Invitation:
    """An open invitation."""

    id: str
    email: str
    role: Role
    invited_by: str
    created_at: datetime
    expires_at: datetime


def invite(
    team_id: str, email: str, role: Role, *, by: str, address: str, idempotency: IdempotencyKey | None = None
) -> tuple[Invitation, bool]:
    """Mail somebody a token that lets them in, for 14 days. A second invitation replaces the first.

    Returns it and whether this was a repeat, of which no mail is sent.

    Raises:
        Invalid: the address is none.
        Conflict: they are a member, or too many invitations are open.
        Forbidden: whoever invites may so no more.
        QuotaExceeded: the team has as many members, with those invited, as its tier allows.
        TooMany: too many mails were asked for.
    """
    email = check_email(email)
    buckets = throttle.of_mail("invite", email, address)
    throttle.take(buckets)
    with transaction("auth") as session:
        team = session.get(TeamRow, team_id, with_for_update={"key_share": True})
        if team is None:
            raise NotFound(f"there is no team {team_id}")
        invitation_id = new_id("inv")
        known = earlier(session, idempotency, team_id=team_id, resource_id=invitation_id)
        if known is not None:
            throttle.give_back(buckets)  # no mail goes out
            return _invitation(session.get_one(InvitationRow, known)), True
        if MANAGE not in key_rights.held(session, by, team_id=team_id):
            raise Forbidden(f"this needs {MANAGE}, which you have no more", needed=MANAGE)
        _check_invitable(session, team_id, email)
        row = InvitationRow(
            id=invitation_id, team_id=team_id, email=email, role=role, invited_by=by, created_at=now(),
            expires_at=now() + LIVES,
        )  # fmt: skip
        session.add(row)
        session.flush()
        text = (
            f"You are invited into the team {team.name!r} as {role}. Use this token to accept:\n\n    {_token(row)}\n\n"
            "It works once, for 14 days.\n"
        )
        mail.post(session, email, SUBJECT, text)
        told = {"email": email, "role": role, "expires_at": row.expires_at}
        audit.record(session, "invitation.created", row.id, team_id=team_id, after=told)
        return _invitation(row), False


def _check_invitable(session: Session, team_id: str, email: str) -> None:
    if member_queries.is_member(session, team_id=team_id, email=email):
        raise Conflict("they are a member of this team", field="/email")
    member_queries.revoke_open(session, team_id=team_id, email=email)
    if member_queries.count_open(session, team_id=team_id) >= MOST_OPEN:
        raise Conflict(f"{MOST_OPEN} invitations of this team are open, the limit; revoke some")
    check_member(session, team_id, inviting=True)


def _invitation(row: InvitationRow) -> Invitation:
    return Invitation(
        id=row.id, email=row.email, role=Role(row.role), invited_by=row.invited_by, created_at=row.created_at,
        expires_at=row.expires_at,
    )  # fmt: skip


def list_invitations(team_id: str) -> Sequence[Invitation]:
    """The open invitations of a team, the newest first."""
    with transaction("auth") as session:
        return [_invitation(row) for row in member_queries.list_open(session, team_id=team_id)]


def revoke_invitation(team_id: str, invitation_id: str) -> None:
    """Take an invitation back. Raises NotFound."""
    with transaction("auth") as session:
        if not member_queries.revoke_open(session, team_id=team_id, invitation_id=invitation_id):
            raise NotFound(f"there is no open invitation {invitation_id}")
        row = session.get_one(InvitationRow, invitation_id)
        told = {"email": row.email, "role": row.role}
        audit.record(session, "invitation.revoked", invitation_id, team_id=team_id, before=told)


def accept(token: str, *, user_id: str) -> Team:
    """Join a team as a user who is signed in, whose address is the invited one.

    Raises:
        Invalid: the token is wrong, was used, or is for another address.
        QuotaExceeded: the team has as many members as its tier allows.
    """
    with transaction("auth") as session:
        user = user_queries.find(session, user_id)
        if user is None:
            raise NotFound(f"there is no user {user_id}")
        return _join(session, _redeem(session, token, user.email), user)


def accept_as_new(token: str, password: str, name: str, *, address: str) -> User:
    """Make an account of the invited address, and join. The mail has shown that the address is theirs.

    Raises:
        Invalid: the token is wrong, or a field is.
        Conflict: there is an account with this address: sign in, and accept then.
    """
    throttle.take(throttle.of_work(address))
    name = check_name(name)
    with transaction("auth") as session:
        email = _redeem(session, token, None).email  # before the work of judging and hashing
    passwords.check(password, known=(email, email.partition("@")[0], name))
    hashed = passwords.hash_of(password)
    with transaction("auth") as session:
        row = _redeem(session, token, None)
        user = claim_user(session, row.email, name, hashed)
        if user is None:
            raise Conflict("there is an account with this address: sign in, and accept then")
        user.verified_at = now()
        _join(session, row, user)
        session.flush()
        return view(session, user)


def _join(session: Session, row: InvitationRow, user: UserRow) -> Team:
    row.accepted_at = now()
    member = member_queries.find_member(session, team_id=row.team_id, user_id=user.id)
    if member is None:
        check_member(session, row.team_id, inviting=False)
        member = MemberRow(team_id=row.team_id, user_id=user.id, role=row.role)
        session.add(member)
        session.flush()
        audit.record(
            session, "member.joined", user.id, team_id=row.team_id, actor=trail.as_user(user),
            after={"email": user.email, "role": row.role, "invitation_id": row.id},
        )  # fmt: skip
    return view_team(session.get_one(TeamRow, row.team_id), Role(member.role))


def _token(row: InvitationRow) -> str:
    expiry = str(int(row.expires_at.timestamp()))
    return f"{row.id}.{expiry}.{mac('invitation', _covered(row, expiry))}"


def _covered(row: InvitationRow, expiry: str) -> bytes:
    return f"{row.id}\n{expiry}\n{row.team_id}\n{row.email}\n{row.role}".encode()


def _redeem(session: Session, token: str, email: str | None) -> InvitationRow:
    parts = token.split(".")
    row = None
    if len(parts) == PARTS and is_id(parts[0], "inv"):
        row = member_queries.lock_invitation(session, parts[0])
    open_ = row is not None and row.accepted_at is None and row.revoked_at is None and row.expires_at > now()
    if row is None or not open_ or not is_mac("invitation", _covered(row, parts[1]), parts[2]):
        raise invalid_field("/token", "token", "this token is not valid: it is wrong, was used, or has expired")
    if int(parts[1]) != int(row.expires_at.timestamp()) or email not in {None, row.email}:
        raise invalid_field("/token", "token", "this invitation is for another address")
    return row
