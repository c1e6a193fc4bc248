"""The ledger: a line for each thing that a step did, whichever process it ran in and however that ended.

One file, appended to in single short writes, so lines of all processes stand in the order in which things happened.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

BEGINS, ENDS, CALLED, NOTED = "begins", "ends", "called", "noted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """``key`` is the step's idempotency key, ``attempt`` its try, ``pid`` the process that ran it."""

    what: str
    key: str
    attempt: int
    pid: int


def path_in(directory):
    """Where the ledger of a run lies."""
    return Path(directory) / "ledger.jsonl"


def note(ctx, what):
    """Append a line for a running step. Raises OSError when the disk takes none: the step fails, and is retried."""
    line = Line(what=what, key=ctx.idempotency_key, attempt=ctx.attempt, pid=os.getpid())
    written = json.dumps(asdict(line), separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(path_in(os.environ["CHAOS_DIR"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, written)
    finally:
        os.close(descriptor)


def read(directory):
    """Every line, in order."""
    path = path_in(directory)
    if not path.exists():
        return []
    return [Line(**json.loads(line)) for line in path.read_text().splitlines()]


def at_work(directory, last=500):
    """By process, of the last lines of the ledger: the step that may take a while and that it is in the middle of."""
    latest = {line.pid: line for line in read(directory)[-last:]}
    return {pid: line.key for pid, line in latest.items() if line.what == BEGINS and line.key.split(":")[1] == "work"}
