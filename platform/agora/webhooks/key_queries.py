"""SQL about signing keys. ``endpoint_id`` None means the team's own, which its inline webhooks may use."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from agora.webhooks.models import KeyRow


def _of(team_id: str, endpoint_id: str | None) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    owned = KeyRow.endpoint_id.is_(None) if endpoint_id is None else KeyRow.endpoint_id == endpoint_id
    return KeyRow.team_id == team_id, owned


LIVE = (KeyRow.expires_at.is_(None)) | (KeyRow.expires_at > func.now())


def insert_key(session: Session, *, team_id: str, endpoint_id: str | None, **columns: Any) -> KeyRow:
    """Insert a key."""
    statement = insert(KeyRow).values(team_id=team_id, endpoint_id=endpoint_id, **columns).returning(KeyRow)
    return session.scalars(statement).one()


def list_keys(session: Session, *, team_id: str, endpoint_id: str | None, live: bool = True) -> Sequence[KeyRow]:
    """Keys, newest first; by default those that sign."""
    statement = select(KeyRow).where(*_of(team_id, endpoint_id), *((LIVE,) if live else ()))
    return session.scalars(statement.order_by(KeyRow.id.desc())).all()


def find_key(session: Session, *, team_id: str, endpoint_id: str | None, key_id: str) -> KeyRow | None:
    """A key, whether it still signs or not."""
    return session.scalar(select(KeyRow).where(*_of(team_id, endpoint_id), KeyRow.id == key_id))


def expire_keys(
    session: Session, *, team_id: str, endpoint_id: str | None, algorithm: str, but: str, seconds: float
) -> int:
    """Let every other key of an algorithm sign for so many seconds more, not longer than it would have."""
    end = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    statement = (
        update(KeyRow)
        .where(*_of(team_id, endpoint_id), KeyRow.algorithm == algorithm, KeyRow.id != but, LIVE)
        .values(expires_at=func.least(KeyRow.expires_at, end))
        .returning(KeyRow.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(statement).all())


def delete_key(session: Session, *, team_id: str, key_id: str) -> None:
    """Delete a key: it signs no more."""
    session.execute(delete(KeyRow).where(KeyRow.team_id == team_id, KeyRow.id == key_id))


def lock_team_keys(session: Session, *, team_id: str) -> None:
    """Let changes to a team's own keys follow one another, until the transaction ends."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), _lock_of(team_id))


def share_team_keys(session: Session, *, team_id: str) -> None:
    """Let nobody change a team's own keys until this transaction ends, which relies on them; others may do so too."""
    session.execute(text("SELECT pg_advisory_xact_lock_shared(hashtextextended(:name, 0))"), _lock_of(team_id))


def _lock_of(team_id: str) -> dict[str, str]:
    return {"name": f"webhook_keys {team_id}"}


# By the primary key, some thousand at a time: few keys expire, and no index of its own is kept for them.
FORGET = text("""
WITH seen AS MATERIALIZED (
    SELECT id, expires_at FROM webhook_keys WHERE id > :after ORDER BY id LIMIT :most
), gone AS (
    DELETE FROM webhook_keys k USING seen s
    WHERE k.id = s.id AND s.expires_at < now() - make_interval(days => :days)
    RETURNING k.id
)
SELECT (SELECT count(*) FROM gone) AS n, (SELECT max(id) FROM seen HAVING count(*) = :most) AS reached
""")


def forget_expired(session: Session, *, after: str, days: int, most: int) -> tuple[int, str]:
    """Delete keys that no longer sign since so many days, of ``most`` keys of all teams behind ``after``.

    Returns how many, and where to go on; empty when that is the beginning.
    """
    row = session.execute(FORGET, {"after": after, "days": days, "most": most}).one()
    return int(row.n), row.reached or ""


SEALED_KEYS = text("SELECT id, sealed FROM webhook_keys WHERE id > :after ORDER BY id LIMIT :slice FOR UPDATE")
RESEAL_KEYS = text("""
UPDATE webhook_keys k SET sealed = n.sealed
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS n (id text, sealed text) WHERE k.id = n.id
""")
SEALED_HEADERS = text("""
SELECT id, headers FROM webhook_endpoints WHERE id > :after ORDER BY id LIMIT :slice FOR NO KEY UPDATE
""")
RESEAL_HEADERS = text("""
UPDATE webhook_endpoints e SET headers = n.headers
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS n (id text, headers jsonb) WHERE e.id = n.id
""")


def lock_sealed(session: Session, *, what: str, after: str, slice_: int) -> Sequence[Mapping[str, Any]]:
    """The next rows with sealed values, locked: ``keys`` with ``sealed``, or ``headers`` with ``headers``."""
    statement = SEALED_KEYS if what == "keys" else SEALED_HEADERS
    return [dict(row) for row in session.execute(statement, {"after": after, "slice": slice_}).mappings()]


def reseal(session: Session, *, what: str, rows: str) -> None:
    """Write sealed values anew; ``rows`` is their JSON, as lock_sealed gives them."""
    session.execute(RESEAL_KEYS if what == "keys" else RESEAL_HEADERS, {"rows": rows})
