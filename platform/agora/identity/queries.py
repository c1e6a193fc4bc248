"""SQL of the auth database: teams and API keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import CTE, Select, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agora.identity.models import ApiKeyRow, MemberRow, TeamRow, UserRow


class Behind(NamedTuple):
    """The user who stands behind a key; ``role`` None: they are not in its team any more."""

    disabled_at: datetime | None
    role: str | None


def upsert_team(session: Session, *, team_id: str, name: str) -> str:
    """The id of the team with that handle, made when there is none."""
    statement = insert(TeamRow).values(id=team_id, name=name, handle=name)
    statement = statement.on_conflict_do_update(index_elements=["handle"], set_={"handle": statement.excluded.handle})
    return session.scalars(statement.returning(TeamRow.id)).one()


def insert_key(
    session: Session, *, team_id: str, key_id: str, name: str, prefix: str, digest: bytes, scopes: Sequence[str],
    expires_at: datetime | None, api_version: str, created_by: str | None, requests_per_minute: int | None = None,
) -> ApiKeyRow:  # fmt: skip
    """Insert an API key."""
    row = ApiKeyRow(
        id=key_id, team_id=team_id, name=name, prefix=prefix, hash=digest, scopes=list(scopes), expires_at=expires_at,
        api_version=api_version, created_by=created_by, requests_per_minute=requests_per_minute,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def find_key_by_hash(session: Session, *, digest: bytes) -> ApiKeyRow | None:
    """The key with this hash: it is how a caller's team is found out."""
    return session.scalar(select(ApiKeyRow).where(ApiKeyRow.hash == digest))


def list_keys(session: Session, *, team_id: str) -> Sequence[ApiKeyRow]:
    """The team's keys, newest first."""
    return session.scalars(select(ApiKeyRow).where(ApiKeyRow.team_id == team_id).order_by(ApiKeyRow.id.desc())).all()


def find_key(session: Session, *, team_id: str, key_id: str, lock: bool = False) -> ApiKeyRow | None:
    """A key of the team, valid or not."""
    statement = select(ApiKeyRow).where(ApiKeyRow.id == key_id, ApiKeyRow.team_id == team_id)
    return session.scalar(statement.with_for_update() if lock else statement)


def revoke_key(session: Session, *, team_id: str, key_id: str) -> None:
    """Revoke a key that the caller has locked."""
    statement = update(ApiKeyRow).where(ApiKeyRow.id == key_id, ApiKeyRow.team_id == team_id)
    session.execute(statement.values(revoked_at=func.now()))


def lock_valid_key(session: Session, *, team_id: str, key_id: str) -> ApiKeyRow | None:
    """A key of the team that is neither revoked nor expired, locked."""
    return session.scalar(_valid(team_id).where(ApiKeyRow.id == key_id).with_for_update())


def _valid(team_id: str) -> Select[ApiKeyRow]:
    return select(ApiKeyRow).where(
        ApiKeyRow.team_id == team_id, ApiKeyRow.revoked_at.is_(None),
        ApiKeyRow.expires_at.is_(None) | (ApiKeyRow.expires_at > func.now()),
    )  # fmt: skip


def touch_key(session: Session, *, key_id: str) -> None:
    """Note that a key was used; at most once a minute."""
    stale = ApiKeyRow.last_used_at.is_(None) | (
        ApiKeyRow.last_used_at < func.now() - func.make_interval(0, 0, 0, 0, 0, 1)
    )
    session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id, stale).values(last_used_at=func.now()))


def find_user_behind(session: Session, *, team_id: str, maker: str) -> Behind | None:
    """The user who made a key of the team, or the key that made it, and so on.

    None: the operator did, or a user who is gone.
    """
    makers = select(literal(maker, ApiKeyRow.id.type).label("id")).cte("makers", recursive=True)
    before = select(ApiKeyRow.created_by).join(makers, ApiKeyRow.id == makers.c.id)
    makers = makers.union(before.where(ApiKeyRow.team_id == team_id, ApiKeyRow.created_by.is_not(None)))
    statement = (
        select(UserRow.disabled_at, MemberRow.role)
        .join(makers, makers.c.id == UserRow.id)
        .outerjoin(MemberRow, (MemberRow.user_id == UserRow.id) & (MemberRow.team_id == team_id))
    )
    found = session.execute(statement).one_or_none()
    return None if found is None else Behind(*found)


def lock_made_by(session: Session, *, team_id: str, maker: str) -> Sequence[ApiKeyRow]:
    """The keys of the team that somebody made, or a key of theirs, and so on, as far as they are valid; locked."""
    statement = _valid(team_id).where(ApiKeyRow.id.in_(select(_made_by(team_id, maker).c.id)))
    return session.scalars(statement.order_by(ApiKeyRow.id).with_for_update()).all()


def list_made_by(session: Session, *, team_id: str, maker: str) -> Sequence[str]:
    """The ids of all of these keys, also of those that are revoked or have expired."""
    return session.scalars(select(_made_by(team_id, maker).c.id)).all()


def _made_by(team_id: str, maker: str) -> CTE:
    made = select(ApiKeyRow.id).where(ApiKeyRow.team_id == team_id, ApiKeyRow.created_by == maker)
    tree = made.cte("made", recursive=True)
    further = select(ApiKeyRow.id).join(tree, ApiKeyRow.created_by == tree.c.id)
    return tree.union(further.where(ApiKeyRow.team_id == team_id))
