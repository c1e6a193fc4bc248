"""SQL about chains: their heads, what is not chained yet, and a chain in its order."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agora.audit.models import EntryRow, HeadRow


def list_unchained(session: Session, *, slice_: int) -> Sequence[str]:
    """Teams that have entries which are not chained yet."""
    waiting = select(EntryRow.team_id).where(EntryRow.seq.is_(None))
    return session.scalars(waiting.distinct().order_by(EntryRow.team_id).limit(slice_)).all()


def lock_head(session: Session, *, team_id: str, genesis: bytes | None = None) -> HeadRow | None:
    """The head of a team's chain, locked; with ``genesis`` made when there is none.

    None when there is none, or another dispatcher has it: whoever holds it is the only one who chains.
    """
    if genesis is not None:
        first = {"team_id": team_id, "seq": 0, "hash": genesis, "anchor_seq": 0, "anchor_hash": genesis}
        session.execute(insert(HeadRow).values(**first).on_conflict_do_nothing())
    return session.scalar(select(HeadRow).where(HeadRow.team_id == team_id).with_for_update(skip_locked=True))


def list_waiting(session: Session, *, team_id: str, slice_: int) -> Sequence[EntryRow]:
    """The oldest entries of a team that are not chained yet."""
    waiting = select(EntryRow).where(EntryRow.team_id == team_id, EntryRow.seq.is_(None))
    return session.scalars(waiting.order_by(EntryRow.id).limit(slice_)).all()


CHAIN = text("""
UPDATE audit_entries e SET seq = given.seq, hash = given.hash
FROM unnest(CAST(:ids AS text[]), CAST(:seqs AS bigint[]), CAST(:hashes AS bytea[])) AS given (id, seq, hash)
WHERE e.id = given.id AND e.team_id = :team_id AND e.seq IS NULL
""")


def set_chained(
    session: Session, *, team_id: str, ids: Sequence[str], seqs: Sequence[int], hashes: Sequence[bytes]
) -> int:
    """Give entries their place in the chain; how many."""
    given = {"ids": list(ids), "seqs": list(seqs), "hashes": list(hashes), "team_id": team_id}
    return int(session.execute(CHAIN, given).rowcount)  # type: ignore[attr-defined]


def move_head(session: Session, *, team_id: str, seq: int, digest: bytes) -> None:
    """Note where a chain ends now."""
    session.execute(update(HeadRow).where(HeadRow.team_id == team_id).values(seq=seq, hash=digest))


def move_anchor(session: Session, *, team_id: str, seq: int, digest: bytes) -> None:
    """Note where a chain begins now."""
    session.execute(update(HeadRow).where(HeadRow.team_id == team_id).values(anchor_seq=seq, anchor_hash=digest))


def read_chain(session: Session, *, team_id: str, after: int, slice_: int) -> Sequence[EntryRow]:
    """Chained entries behind a place, in the chain's order."""
    chained = select(EntryRow).where(EntryRow.team_id == team_id, EntryRow.seq > after)
    return session.scalars(chained.order_by(EntryRow.seq).limit(slice_)).all()


OLDEST = text("""
WITH seen AS (SELECT team_id, anchor_seq FROM audit_heads WHERE team_id > :after ORDER BY team_id LIMIT :slice)
SELECT seen.team_id, COALESCE(first.at < :before, false) AS old
FROM seen LEFT JOIN LATERAL (
    SELECT e.at FROM audit_entries e WHERE e.team_id = seen.team_id AND e.seq > seen.anchor_seq ORDER BY e.seq LIMIT 1
) first ON true
ORDER BY seen.team_id
""")


def list_oldest(session: Session, *, after: str, before: datetime, slice_: int) -> Sequence[Row[Any]]:
    """The next teams that have a chain, and whether its first entry is older than a moment."""
    return session.execute(OLDEST, {"after": after, "before": before, "slice": slice_}).all()


def find_head(session: Session, *, team_id: str) -> HeadRow | None:
    """The head of a team's chain."""
    return session.get(HeadRow, team_id)


TEAMS = text("SELECT team_id FROM audit_heads UNION SELECT team_id FROM audit_entries ORDER BY team_id")


def list_chained(session: Session) -> Sequence[str]:
    """Every team that has a chain, or entries."""
    return session.scalars(TEAMS).all()


def count_waiting(session: Session, *, team_id: str) -> int:
    """How many entries of a team are not chained yet."""
    statement = text("SELECT count(*) FROM audit_entries WHERE team_id = :team_id AND seq IS NULL")
    return int(session.execute(statement, {"team_id": team_id}).scalar_one())
