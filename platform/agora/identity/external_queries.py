"""SQL about users as an OIDC provider knows them, and browsers that were sent to it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agora.identity.models import ExternalIdentityRow, OidcFlowRow


def begin_flow(
    session: Session, *, state_hash: bytes, browser_hash: bytes, user_id: str | None, expires_at: datetime
) -> None:
    """Note that a browser was sent to the provider."""
    session.add(
        OidcFlowRow(state_hash=state_hash, browser_hash=browser_hash, user_id=user_id, expires_at=expires_at)
    )  # fmt: skip


def take_flow(session: Session, state_hash: bytes) -> OidcFlowRow | None:
    """The browser that comes back with this state: once, since this removes it."""
    return session.scalar(delete(OidcFlowRow).where(OidcFlowRow.state_hash == state_hash).returning(OidcFlowRow))


def find(session: Session, *, issuer: str, subject: str) -> str | None:
    """The user whom the provider knows by this subject."""
    statement = select(ExternalIdentityRow.user_id).where(
        ExternalIdentityRow.issuer == issuer, ExternalIdentityRow.subject == subject
    )
    return session.scalar(statement)


def touch(session: Session, *, issuer: str, subject: str) -> str | None:
    """Note that somebody signs in by it; whom it stands for now, and does until the transaction ends."""
    statement = update(ExternalIdentityRow).where(
        ExternalIdentityRow.issuer == issuer, ExternalIdentityRow.subject == subject
    )
    return session.scalar(statement.values(used_at=func.now()).returning(ExternalIdentityRow.user_id))


def link(session: Session, *, link_id: str, issuer: str, subject: str, user_id: str, email: str) -> str:
    """Let a subject stand for a user, unless it stands for one already; whom it stands for now."""
    statement = insert(ExternalIdentityRow).values(
        id=link_id, issuer=issuer, subject=subject, user_id=user_id, email=email
    )
    statement = statement.on_conflict_do_update(
        index_elements=["issuer", "subject"], set_={"used_at": func.now()}
    )  # fmt: skip
    return session.scalars(statement.returning(ExternalIdentityRow.user_id)).one()


def list_of(session: Session, user_id: str) -> Sequence[ExternalIdentityRow]:
    """How providers know a user, the first link first."""
    statement = select(ExternalIdentityRow).where(ExternalIdentityRow.user_id == user_id)
    return session.scalars(statement.order_by(ExternalIdentityRow.id)).all()


def unlink(session: Session, user_id: str, link_id: str) -> ExternalIdentityRow | None:
    """Forget one of them; what it was."""
    statement = delete(ExternalIdentityRow).where(
        ExternalIdentityRow.user_id == user_id, ExternalIdentityRow.id == link_id
    )
    return session.scalar(statement.returning(ExternalIdentityRow))


def unlink_all(session: Session, user_id: str) -> None:
    """Forget all of them."""
    session.execute(delete(ExternalIdentityRow).where(ExternalIdentityRow.user_id == user_id))
