"""SQL about sessions, tokens of mails, and keys that sign access tokens: of users, who belong to no one team."""

from collections.abc import Sequence

from sqlalchemy import func, insert, literal, select, update
from sqlalchemy.orm import Session

from agora.identity.models import OneTimeTokenRow, SessionRow, SigningKeyRow, SpentTokenRow, UserRow


def lock_by_refresh(session: Session, digest: bytes) -> SessionRow | None:
    """The session whose refresh token has this hash."""
    return session.scalar(select(SessionRow).where(SessionRow.refresh_hash == digest).with_for_update())


def find_of_spent(session: Session, digest: bytes) -> str | None:
    """The session whose refresh token had this hash, and was used."""
    return session.scalar(select(SpentTokenRow.session_id).where(SpentTokenRow.hash == digest))


def end(session: Session, ids: Sequence[str], *, why: str) -> list[str]:
    """End those of these sessions that have not ended; returns these."""
    open_ = update(SessionRow).where(SessionRow.id.in_(ids), SessionRow.revoked_at.is_(None))
    return list(session.scalars(open_.values(revoked_at=func.now(), revoked_why=why).returning(SessionRow.id)))


def list_open(session: Session, user_id: str) -> Sequence[SessionRow]:
    """The sessions of a user that have not ended, the newest first."""
    statement = select(SessionRow).where(
        SessionRow.user_id == user_id, SessionRow.revoked_at.is_(None), SessionRow.expires_at > func.now()
    )
    return session.scalars(statement.order_by(SessionRow.id.desc())).all()


def find_open(session: Session, *, session_id: str, user_id: str) -> bool | None:
    """Whether a session has the second factor; None when it is none of that user, is over, or they are disabled.

    A second factor that was taken away meanwhile counts no more.
    """
    statement = (
        select(SessionRow.second_factor & UserRow.totp_since.is_not(None))
        .join(UserRow, UserRow.id == SessionRow.user_id)
        .where(SessionRow.id == session_id, SessionRow.user_id == user_id, SessionRow.revoked_at.is_(None))
        .where(SessionRow.expires_at > func.now(), UserRow.disabled_at.is_(None))
    )
    return session.scalar(statement)


def forget_second_factor(session: Session, user_id: str) -> None:
    """No session of a user counts as one with a second factor any more."""
    session.execute(update(SessionRow).where(SessionRow.user_id == user_id).values(second_factor=False))


def spend(session: Session, token_id: str) -> bool:
    """Use a one-time token up; whether it was not used before."""
    fresh = update(OneTimeTokenRow).where(OneTimeTokenRow.id == token_id, OneTimeTokenRow.used_at.is_(None))
    return session.scalar(fresh.values(used_at=func.now()).returning(OneTimeTokenRow.id)) is not None


def insert_no_token(session: Session) -> None:
    """The statement of a one-time token, for nobody: it inserts no row."""
    nobodys = select(UserRow.id, UserRow.id, literal(""), func.now()).where(UserRow.id == "")
    session.execute(insert(OneTimeTokenRow).from_select(["id", "user_id", "purpose", "expires_at"], nobodys))


def list_signing_keys(session: Session) -> Sequence[SigningKeyRow]:
    """All keys, in the order in which they sign."""
    return session.scalars(select(SigningKeyRow).order_by(SigningKeyRow.signs_from)).all()


def lock_signing_keys(session: Session, lock: int) -> None:
    """Wait until nobody else makes a key."""
    session.execute(select(func.pg_advisory_xact_lock(lock)))
