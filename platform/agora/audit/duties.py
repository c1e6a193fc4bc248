"""What the dispatcher does for the audit log: copies main's entries over, chains them, removes the oldest."""

from datetime import datetime, timedelta

from agora.audit import chain_queries, queries
from agora.audit.chain import chain_entries, hash_of
from agora.clock import now
from agora.db.session import transaction
from agora.settings import get_settings
from agora.telemetry import get_logger

SLICE = 500
TEAMS = 2_000
"""Chains that one round of retention looks at."""

_walk = {"after": ""}

log = get_logger(__name__)

__all__ = ["chain_entries", "copy_entries", "remove_old_entries"]


def copy_entries() -> int:
    """Copy what main's transactions have written into the log; how many entries.

    They leave main when the log has them for sure. Whoever is killed in between leaves them to be copied again, which
    changes nothing: an entry keeps its id.
    """
    with transaction() as main:
        rows = queries.lock_outbox(main, slice_=SLICE)
        if rows:
            with transaction("auth") as auth:
                queries.insert_copied(auth, rows)
            queries.forget_copied(main, [row["id"] for row in rows])
    return len(rows)


def remove_old_entries() -> int:
    """Remove what is older than AGORA_AUDIT_RETENTION_DAYS from the beginning of each chain; how many entries.

    What is removed is checked first: a chain that does not verify stays whole, as evidence.
    """
    days = get_settings().audit_retention_days
    if not days:
        return 0
    before = now() - timedelta(days=days)
    with transaction("auth") as session:
        teams = chain_queries.list_oldest(session, after=_walk["after"], before=before, slice_=TEAMS)
    _walk["after"] = teams[-1].team_id if len(teams) == TEAMS else ""
    removed = sum(_remove_of(team.team_id, before) for team in teams if team.old)
    if removed:
        log.info("removed what was kept long enough", kind="audit", removed=removed)
    return removed


def _remove_of(team_id: str, before: datetime) -> int:
    with transaction("auth") as session:
        head = chain_queries.lock_head(session, team_id=team_id)
        if head is None:
            return 0
        seq, digest = head.anchor_seq, head.anchor_hash
        for row in chain_queries.read_chain(session, team_id=team_id, after=seq, slice_=SLICE):
            if row.at >= before:
                break
            digest = hash_of(row, seq + 1, digest)
            if row.seq != seq + 1 or row.hash != digest:
                log.error("the audit log was tampered with: nothing of it is removed", team_id=team_id, seq=seq + 1)
                return 0
            seq += 1
        if seq == head.anchor_seq:
            return 0
        removed = queries.remove_entries(session, team_id=team_id, up_to=seq, before=before)
        chain_queries.move_anchor(session, team_id=team_id, seq=seq, digest=digest)
        return removed
