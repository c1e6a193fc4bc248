"""Check a team's chain: that no entry was altered, removed or slipped in since it was chained.

What this cannot see: somebody who may write all of the auth database can make a whole new chain, its head included.
Whoever keeps a head elsewhere (``SEQ:HASH``) and gives it as ``expected`` sees that too.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.orm import Session

from agora.audit import chain_queries
from agora.audit.chain import hash_of
from agora.audit.models import EntryRow, HeadRow
from agora.db.session import transaction
from agora.errors import Invalid

SLICE = 1_000
EXPECTED: Final = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a check found. ``fault`` None: the chain is whole, from behind ``anchor_seq`` to ``seq``."""

    team_id: str
    anchor_seq: int = 0
    seq: int = 0
    hash: str = ""
    entries: int = 0
    waiting: int = 0
    """Entries that are not chained yet, of which nothing can be said."""
    fault: str | None = None
    bad_seq: int | None = None
    bad_id: str | None = None


class _Broken(Exception):  # never leaves this module
    def __init__(self, fault: str, seq: int | None = None, entry_id: str | None = None) -> None:
        super().__init__(fault)
        self.fault, self.seq, self.entry_id = fault, seq, entry_id


def parse_expected(written: str) -> tuple[int, str]:
    """A head as it is kept elsewhere, ``SEQ:HASH``. Raises Invalid."""
    found = EXPECTED.fullmatch(written.strip().lower())
    if found is None:
        raise Invalid("what is expected must be SEQ:HASH, as `agora audit verify` prints it")
    return int(found[1]), found[2]


def chained_teams() -> list[str]:
    """Every team that has a chain or entries, and the platform itself."""
    with transaction("auth") as session:
        return list(chain_queries.list_chained(session))


def verify(team_id: str, *, expected: tuple[int, str] | None = None) -> Report:
    """Check the chain of a team, as it is at this moment; nothing waits for it.

    ``expected`` is a head of this chain that was kept elsewhere: the chain must still go through it.
    """
    with transaction("auth") as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        head = chain_queries.find_head(session, team_id=team_id)
        waiting = chain_queries.count_waiting(session, team_id=team_id)
        report = Report(team_id=team_id, waiting=waiting)
        if head is not None:
            report = replace(report, anchor_seq=head.anchor_seq, seq=head.seq, hash=head.hash.hex())
        try:
            return replace(report, entries=_walk(session, team_id, head, expected))
        except _Broken as broken:
            return replace(report, fault=broken.fault, bad_seq=broken.seq, bad_id=broken.entry_id)


def _walk(session: Session, team_id: str, head: HeadRow | None, expected: tuple[int, str] | None) -> int:
    """How many entries the chain has. Raises _Broken."""
    first = chain_queries.read_chain(session, team_id=team_id, after=0, slice_=1)
    if head is None:
        if first:
            raise _Broken("the head of the chain is missing", first[0].seq, first[0].id)
        if expected is not None:
            raise _Broken(f"the chain that had entry {expected[0]} is gone", expected[0])
        return 0
    seq, digest = head.anchor_seq, head.anchor_hash
    if first and (first[0].seq or 0) <= seq:
        raise _Broken("an entry is there that retention has removed", first[0].seq, first[0].id)
    if expected is not None and not seq <= expected[0] <= head.seq:
        where = "lies before what is kept" if expected[0] < seq else "is not in the chain, which ends before it"
        raise _Broken(f"the expected entry {expected[0]} {where}", expected[0])
    _check_expected(expected, seq, digest)
    while rows := chain_queries.read_chain(session, team_id=team_id, after=seq, slice_=SLICE):
        for row in rows:
            digest = _check_next(row, seq, digest, head)
            seq += 1
            _check_expected(expected, seq, digest)
        session.expunge_all()
    if seq != head.seq:
        raise _Broken(f"the end of the chain is missing: it goes to {head.seq}, the entries to {seq}", seq + 1)
    if digest != head.hash:
        raise _Broken("the head of the chain is another than its last entry", seq)
    return seq - head.anchor_seq


def _check_next(row: EntryRow, seq: int, digest: bytes, head: HeadRow) -> bytes:
    if row.seq != seq + 1:
        raise _Broken(f"an entry is missing: after {seq} comes {row.seq}", seq + 1, row.id)
    if seq + 1 > head.seq:
        raise _Broken(f"an entry lies behind the end of the chain, {head.seq}", seq + 1, row.id)
    found = hash_of(row, seq + 1, digest)
    if found != row.hash:
        raise _Broken("the entry is not what was chained: it was altered, or slipped in", seq + 1, row.id)
    return found


def _check_expected(expected: tuple[int, str] | None, seq: int, digest: bytes) -> None:
    if expected is not None and expected[0] == seq and expected[1] != digest.hex():
        raise _Broken("the chain has another hash here than the one that was kept elsewhere", seq)
