"""SQL about idempotency keys: of whichever database the session is of, unless it is said."""

from sqlalchemy import RowMapping, delete, select, text
from sqlalchemy.orm import Session

from agora.idempotency.models import AuthIdempotencyRow, IdempotencyRow

REMEMBER = text("""
INSERT INTO idempotency_keys (team_id, key, route, fingerprint, resource_id, status)
VALUES (:team_id, :key, :route, :fingerprint, :resource_id, :status)
ON CONFLICT (team_id, key, route) DO UPDATE
SET fingerprint = excluded.fingerprint, resource_id = excluded.resource_id, status = excluded.status, created_at = now()
WHERE idempotency_keys.created_at < now() - interval '24 hours'
""")


def remember_key(
    session: Session, *, team_id: str, key: str, route: str, fingerprint: str, resource_id: str, status: int
) -> bool:
    """Take an idempotency key for a create in this transaction; False when a create holds it already.

    While another transaction is about to take it, this waits for that one to end.
    """
    parameters = {
        "team_id": team_id, "key": key, "route": route, "fingerprint": fingerprint, "resource_id": resource_id,
        "status": status,
    }  # fmt: skip
    return session.execute(REMEMBER, parameters).rowcount == 1  # type: ignore[attr-defined,no-any-return]


FORWARD = text("""
UPDATE idempotency_keys SET resource_id = :resource_id WHERE team_id = :team_id AND key = :key AND route = :route
""")


def forward_key(session: Session, *, team_id: str, key: str, route: str, resource_id: str) -> None:
    """Let an idempotency key stand for another resource."""
    session.execute(FORWARD, {"team_id": team_id, "key": key, "route": route, "resource_id": resource_id})


FIND = text("""
SELECT fingerprint, resource_id FROM idempotency_keys WHERE team_id = :team_id AND key = :key AND route = :route
""")


def find_key(session: Session, *, team_id: str, key: str, route: str) -> RowMapping | None:
    """The create that holds an idempotency key: its fingerprint, and what it made."""
    return session.execute(FIND, {"team_id": team_id, "key": key, "route": route}).mappings().one_or_none()


def forget_keys(
    session: Session, *, limit: int, kind: type[IdempotencyRow | AuthIdempotencyRow] = IdempotencyRow
) -> int:
    """Delete up to ``limit`` idempotency keys older than 24 hours, of all teams; ``kind``: of which database."""
    old = (
        select(kind.team_id, kind.key, kind.route)
        .where(kind.created_at < text("now() - interval '24 hours'"))
        .limit(limit)
        .subquery()
    )
    statement = delete(kind).where(kind.team_id == old.c.team_id, kind.key == old.c.key, kind.route == old.c.route)
    return session.execute(statement).rowcount  # type: ignore[attr-defined,no-any-return]
