"""SQL about idempotency keys."""

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from agora.idempotency.models import IdempotencyRow

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


def find_key(session: Session, *, team_id: str, key: str, route: str) -> IdempotencyRow | None:
    """The create that holds an idempotency key."""
    return session.get(IdempotencyRow, (team_id, key, route))


def forget_keys(session: Session, *, limit: int) -> int:
    """Delete up to ``limit`` idempotency keys that are older than 24 hours, of all teams."""
    old = (
        select(IdempotencyRow.team_id, IdempotencyRow.key, IdempotencyRow.route)
        .where(IdempotencyRow.created_at < text("now() - interval '24 hours'"))
        .limit(limit)
        .subquery()
    )
    statement = delete(IdempotencyRow).where(
        IdempotencyRow.team_id == old.c.team_id, IdempotencyRow.key == old.c.key, IdempotencyRow.route == old.c.route
    )
    return session.execute(statement).rowcount  # type: ignore[attr-defined,no-any-return]
