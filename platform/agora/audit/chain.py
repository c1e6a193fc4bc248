"""The hash chain of a team: each entry's hash covers the entry and the hash before it.

The hash is SHA-256 over the 32 bytes of the hash before (of the first: 32 zero bytes) and the entry's canonical JSON:
an object with the fields of FIELDS, in UTF-8, without blanks, the names of every object in the order of their code
points, text escaped only where JSON demands it, times in UTC to the microsecond. Numbers in ``before`` and ``after``
are integers below 2^53, or the shortest decimals that mean the same double. But for numbers with an exponent, that is
what RFC 8785 says.

Chaining comes after the commit of what is chained, so that nobody who writes waits for it.
"""

import hashlib
import json
from typing import Any, Final

from agora.audit import chain_queries
from agora.audit.models import EntryRow, HeadRow
from agora.audit.service import told
from agora.db.session import transaction

GENESIS: Final = bytes(32)
FIELDS: Final = (
    "id", "team_id", "seq", "at", "actor_kind", "actor_id", "actor_name", "action", "object_type", "object_id",
    "address", "request_id", "before", "after",
)  # fmt: skip
SLICE = 500
TEAMS = 100


def canonical(row: EntryRow, seq: int) -> bytes:
    """An entry at its place, as it is hashed."""
    said: dict[str, Any] = {name: getattr(row, name) for name in FIELDS} | {"seq": seq, "at": told(row.at)}
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def hash_of(row: EntryRow, seq: int, before: bytes) -> bytes:
    """The hash of an entry at its place, given the one before it."""
    return hashlib.sha256(before + canonical(row, seq)).digest()


def chain_entries() -> int:
    """Chain what was written since; how many entries."""
    with transaction("auth") as session:
        teams = chain_queries.list_unchained(session, slice_=TEAMS)
    return sum(chain_team(team_id) for team_id in teams)


def chain_team(team_id: str) -> int:
    """Chain up to a slice of a team's entries; how many. While somebody else chains for this team: none."""
    with transaction("auth") as session:
        head = chain_queries.lock_head(session, team_id=team_id, genesis=GENESIS)
        if head is None:
            return 0
        rows = chain_queries.list_waiting(session, team_id=team_id, slice_=SLICE)
        if rows:
            _append(session, head, rows)
        return len(rows)


def _append(session: Any, head: HeadRow, rows: Any) -> None:
    seqs, hashes, last = [], [], head.hash
    for seq, row in enumerate(rows, start=head.seq + 1):
        last = hash_of(row, seq, last)
        seqs.append(seq)
        hashes.append(last)
    ids = [row.id for row in rows]
    chain_queries.set_chained(session, team_id=head.team_id, ids=ids, seqs=seqs, hashes=hashes)
    chain_queries.move_head(session, team_id=head.team_id, seq=seqs[-1], digest=last)
