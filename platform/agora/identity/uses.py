"""Uses of what is deprecated, counted by caller: a team sees what it must change, the operator whom it would hurt.

A request only adds to a dictionary. Each process writes its sums every few seconds, and when it ends; what a killed one
had not written is lost, and that is all right: it is a count, not a bill.
"""

import atexit
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from agora.clock import now
from agora.db.session import transaction
from agora.errors import AgoraError
from agora.identity import use_queries
from agora.telemetry import get_logger

SECONDS = 5.0
MOST = 10_000
"""Sums that a process keeps while it cannot write them; what comes on top is not counted."""

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """How often one caller used one feature."""

    actor_id: str
    feature: str
    uses: int
    first_used_at: datetime
    last_used_at: datetime


Key = tuple[str, str, str]
_lock = threading.Lock()
_sums: dict[Key, tuple[int, datetime]] = {}
_writer_of: list[int] = []
"""The id of the process that has a writer: a child made by a fork has none."""


def note(team_id: str, actor_id: str, features: Iterable[str]) -> None:
    """Count one use of each feature. Never waits for a database, and never fails."""
    moment = now()
    with _lock:
        for feature in features:
            key = team_id, actor_id, feature
            if key in _sums or len(_sums) < MOST:
                _sums[key] = _sums.get(key, (0, moment))[0] + 1, moment
        begin = _writer_of != [os.getpid()]
        _writer_of[:] = [os.getpid()]
    if begin:
        threading.Thread(target=_write_on, name="deprecated-uses", daemon=True).start()
        atexit.register(write)


def _write_on() -> None:
    pause = threading.Event()
    while not pause.wait(SECONDS):
        write()


def write() -> int:
    """Write the sums; how many. While the database is away they are kept for the next time."""
    with _lock:
        taken = dict(_sums)
        _sums.clear()
    if not taken:
        return 0
    try:
        with transaction("auth") as session:
            use_queries.add_uses(session, rows=[(*key, count, moment) for key, (count, moment) in taken.items()])
    except (AgoraError, SQLAlchemyError) as error:
        log.warning("uses of deprecated features cannot be written yet", error=type(error).__name__)
        with _lock:
            for key, (count, moment) in taken.items():
                more, later = _sums.get(key, (0, moment))
                _sums[key] = count + more, later
        return 0
    return len(taken)


def list_uses(team_id: str) -> list[Use]:
    """What the team's keys and users used, by feature, the latest first."""
    with transaction("auth") as session:
        return [Use(**row) for row in use_queries.list_uses(session, team_id=team_id)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """Of all teams: uses by feature, valid keys by the version that they are pinned to."""

    uses: dict[str, int]
    keys: dict[str, int]


def look() -> Overview:
    """What operators watch before they retire a version."""
    with transaction("auth") as session:
        return Overview(uses=use_queries.total_uses(session), keys=use_queries.count_pinned(session))
