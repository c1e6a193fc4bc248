"""What users do about themselves, in the audit log of each of their teams: owners see who got in, and how."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from agora.audit import acting
from agora.audit import service as audit
from agora.audit.acting import Actor, ActorKind
from agora.identity import user_queries
from agora.identity.models import UserRow


def note(
    session: Session, action: str, user_id: str, *, before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None, actor: Actor | None = None,
) -> None:  # fmt: skip
    """Note what was done by or to a user, in the caller's transaction."""
    teams = user_queries.list_team_ids(session, user_id)
    audit.record_for(session, action, user_id, team_ids=teams, before=before, after=after, actor=actor)


def as_user(row: UserRow, *, address: str | None = None) -> Actor:
    """A user who has just shown who they are, so that the request itself does not know them yet."""
    present = acting.actor()
    return replace(
        present, kind=ActorKind.USER, id=row.id, name=row.email, team_id=None, address=address or present.address
    )


def note_failed_sign_in(session: Session, email: str, *, reason: str, address: str, user_agent: str) -> None:
    """Note a sign-in that failed. Of an address without an account, in the platform's log.

    It is the same work, whether there is an account, and however many teams it has: the teams come later.
    """
    row = user_queries.find_by_email(session, email)
    nobody = Actor(kind=ActorKind.ANONYMOUS, address=address, request_id=acting.actor().request_id)
    audit.record_of_user(
        session, "user.sign_in_failed", row.id if row is not None else email, actor=nobody,
        after={"reason": reason if row is not None else "no account", "user_agent": user_agent},
    )  # fmt: skip


def spread(session: Session, *, slice_: int, most: int) -> int:
    """Write the failed sign-ins that were noted into the log of each team of the account; how many of them.

    Of a slice, as many as become ``most`` entries, and one at least.
    """
    return audit.spread(session, partial(user_queries.list_team_ids_of, session), slice_=slice_, most=most)
