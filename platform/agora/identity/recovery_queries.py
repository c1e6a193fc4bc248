"""SQL about recovery codes: of users, who belong to no one team."""

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from agora.identity.models import RecoveryCodeRow


def spend(session: Session, user_id: str, digest: bytes) -> bool:
    """Use a code up; whether there was such a one. Of two who try at once, one finds it gone."""
    statement = delete(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user_id, RecoveryCodeRow.hash == digest)
    return session.scalar(statement.returning(RecoveryCodeRow.user_id)) is not None


def forget_all(session: Session, user_id: str) -> None:
    """Remove the codes of a user."""
    session.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user_id))


def count(session: Session, user_id: str) -> int:
    """How many codes of a user are left."""
    statement = select(func.count()).select_from(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user_id)
    return session.scalar(statement) or 0
