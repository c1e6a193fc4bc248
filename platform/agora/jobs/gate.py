"""The gate: jobs that limits concern wait in line here, outside the order, and are let in when there is room.

A job is let in when every limit that concerns it has room, and keeps its permits until it ends. Who is let in is
decided under the locks of all limits in question, from rows: permits that are held count, and a permit is deleted, not
given back, when its job has ended. So a crash loses nothing but time; the dispatcher looks for lines with room and for
permits of jobs that have ended.

A job waits in the line of the first limit that stops it, and in no other: a full line never holds up those behind it
that another limit concerns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from agora.db.session import transaction
from agora.events.types import JobRef
from agora.jobs import limit_queries
from agora.jobs.order import Rounds
from agora.telemetry import get_logger

MOST = 100
"""Jobs that one look lets in."""
LOOKS = 20

rounds = Rounds()
log = get_logger(__name__)


def scope_of(team_id: str | None, agent: str | None = None, action: str | None = None) -> str:
    """The scope of a limit: of a team or all, an agent or all, an action or all."""
    return f"{team_id or '*'}/{agent or '*'}/{action or '*'}"


def scope_of_key(team_id: str, key: str) -> str:
    """The scope of a team's concurrency key."""
    return f"key:{team_id}/{key}"


def scopes_of(team_id: str, agent: str, action: str) -> list[str]:
    """Every scope whose limit would concern a job."""
    return [
        scope_of(team_id), scope_of(team_id, agent), scope_of(team_id, agent, action), scope_of(None, agent),
        scope_of(None, agent, action),
    ]  # fmt: skip


def enter(session: Session, jobs: Sequence[JobRef], *, team_id: str, key: str | None = None) -> dict[str, set[str]]:
    """Let jobs that were inserted in this transaction stand in line where limits concern them.

    Returns by job id the scopes of its lines, to be looked at after the commit; only jobs that a limit concerns.
    """
    wanted = {job.id: scopes_of(team_id, job.agent, job.action) for job in jobs}
    found = set(limit_queries.find_scopes(session, scopes=sorted({one for many in wanted.values() for one in many})))
    pairs = [(job_id, scope) for job_id, scopes in wanted.items() for scope in scopes if scope in found]
    pairs += [(job.id, scope_of_key(team_id, key)) for job in jobs if key]
    if pairs:
        limit_queries.hold_jobs(session, team_id=team_id, pairs=pairs, key=key)
    lines: dict[str, set[str]] = {}
    for job_id, scope in pairs:
        lines.setdefault(job_id, set()).add(scope)
    return lines


def after_commit(*, ended: Iterable[str] = (), lines: Iterable[str] = ()) -> set[str]:
    """Let in whom these ends, and these lines, make room for; the queues that have new due steps. Best effort."""
    try:
        scopes = set(lines) | free(sorted(ended))
        return look(scopes) if scopes else set()
    except SQLAlchemyError as error:
        log.warning("a line was not looked at, the dispatcher will", error=type(error).__name__)
        return set()


def free(job_ids: Sequence[str]) -> set[str]:
    """Delete the permits of jobs that have ended; the scopes in which that makes room."""
    if not job_ids:
        return set()
    with transaction() as session:
        return limit_queries.drop_permits(session, job_ids=job_ids)


def look(scopes: Iterable[str]) -> set[str]:
    """Let in from these lines whoever fits, a slice at a time; the queues that have new due steps."""
    queues: set[str] = set()
    for scope in sorted(scopes):
        for _ in range(LOOKS):
            with transaction() as session:
                more, found = _let_in(session, scope)
            queues |= found
            if not more:
                break
    return queues


@dataclass(slots=True)
class Room:
    """What is left of a limit. None means without limit."""

    places: float
    tokens: float | None

    @classmethod
    def of(cls, row: RowMapping) -> "Room":
        """From a limit's row."""
        places = float("inf") if row["max_running"] is None else row["max_running"] - row["running"]
        return cls(places=places, tokens=None if row["rate"] is None else row["tokens"])

    def obstacle(self) -> str | None:
        """Why nobody else fits."""
        if self.places < 1:
            return "concurrency"
        return "rate" if self.tokens is not None and self.tokens < 1 else None

    def take(self) -> None:
        """Let one in."""
        self.places -= 1
        if self.tokens is not None:
            self.tokens -= 1


def _let_in(session: Session, scope: str) -> tuple[bool, set[str]]:
    """Let in from one line; whether another look may let in more, and the queues with new due steps."""
    shared = scope.startswith("*")
    after = rounds.after(scope) if shared else ""
    line = limit_queries.list_line(session, scope=scope, after=after, most=MOST)
    waiting = [row["job_id"] for row in line]
    before = limit_queries.find_permits(session, job_ids=waiting)
    scopes = sorted({scope, *(one for row in before.values() for one in row["scopes"])})
    rooms = {row["scope"]: Room.of(row) for row in limit_queries.lock_rooms(session, scopes=scopes)}
    # Only under the locks is it certain who still waits, and for what.
    permits = limit_queries.find_permits(session, job_ids=waiting)
    gone = [job_id for job_id, row in permits.items() if row["ended"]]
    if gone:
        limit_queries.drop_permits(session, job_ids=gone)
    admitted, blocked = _decide(waiting, permits, scope, scopes, rooms)
    queues = limit_queries.admit_jobs(session, job_ids=admitted) if admitted else set()
    if blocked:
        limit_queries.move_jobs(session, blocked=blocked)
    left = {one: room.tokens for one, room in rooms.items() if room.tokens is not None}
    if left:
        limit_queries.save_tokens(session, left=left)
    limit_queries.tidy_limits(session, scopes=scopes)
    if shared:
        rounds.note(scope, [row for row in line if row["job_id"] in admitted])
    full = scope in rooms and rooms[scope].obstacle() is not None
    return bool(admitted or blocked or gone) and not full, queues


def _decide(
    waiting: Sequence[str], permits: dict[str, RowMapping], scope: str, locked: Sequence[str], rooms: dict[str, Room]
) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Who is let in; and who is stopped, by which limit, and why."""
    admitted: list[str] = []
    blocked: list[tuple[str, str, str]] = []
    for job_id in waiting:
        row = permits.get(job_id)
        if row is None or row["admitted"] or row["ended"] or not set(row["scopes"]) <= set(locked):
            continue
        # A limit that is gone stops nobody.
        needed = [(one, rooms[one]) for one in row["scopes"] if one in rooms]
        stops = [(one, reason) for one, room in needed if (reason := room.obstacle())]
        if not stops:
            for _, room in needed:
                room.take()
            admitted.append(job_id)
            continue
        own = [stop for stop in stops if stop[0] == scope]
        blocked.append((job_id, *(own or stops)[0]))
        if own:
            break  # this line is full: whoever stands behind waits on in it
    return admitted, blocked
