"""SQL about stored values that may have nobody left who refers to them."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from agora.retention.stored import OF_JOB, STORED

_PARTS = [(table, column) for table, columns in STORED.items() for column in columns]
_OF_JOBS = [f"SELECT t.{column} AS value FROM {OF_JOB[table]}" for table, column in _PARTS if table in OF_JOB]

NOTE = text(f"""
INSERT INTO leftovers (location, team_id)
SELECT DISTINCT value ->> 'ref', split_part(value ->> 'ref', '/', 2) FROM (
    {" UNION ALL ".join(_OF_JOBS)}
) found
WHERE value ? 'ref'
ON CONFLICT (location) DO UPDATE SET noted_at = now()
""")


def note_leftovers(session: Session, *, job_ids: Sequence[str]) -> None:
    """Note the large values of jobs that are about to be removed."""
    session.execute(NOTE, {"ids": list(job_ids)})


REFERRED = " OR ".join(
    f"EXISTS (SELECT FROM {table} t WHERE t.{column} ? 'ref' AND t.{column} ->> 'ref' = l.location)"
    for table, column in _PARTS
)

OLD = text(f"""
SELECT l.location, l.trashed_at IS NOT NULL AS trashed, {REFERRED} AS referred
FROM leftovers l
WHERE COALESCE(l.trashed_at, l.noted_at) < now() - make_interval(secs => :age)
ORDER BY l.noted_at
LIMIT :slice
FOR UPDATE OF l SKIP LOCKED
""")


def lock_old(session: Session, *, age: float, slice_: int) -> Sequence[RowMapping]:
    """``location, trashed, referred`` of what was noted, or put aside, longer ago than ``age`` seconds."""
    return session.execute(OLD, {"age": age, "slice": slice_}).mappings().all()


TRASHED = text("UPDATE leftovers SET trashed_at = now() WHERE location = ANY(:locations)")
FORGET = text("DELETE FROM leftovers WHERE location = ANY(:locations)")


def mark_trashed(session: Session, *, locations: Sequence[str]) -> None:
    """Their content is put aside now."""
    session.execute(TRASHED, {"locations": list(locations)})


def forget(session: Session, *, locations: Sequence[str]) -> None:
    """They are done with."""
    session.execute(FORGET, {"locations": list(locations)})
