"""Limits that are set: how many jobs of a team, an agent or an action run at once, and how fast they start."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from agora.audit import service as audit
from agora.audit.acting import PLATFORM
from agora.db.session import transaction
from agora.editions import ANYTHING, Edited, Expected
from agora.errors import Invalid, NotFound, invalid_field
from agora.jobs import gate, setting_queries
from agora.jobs.rings import try_refill

MOST = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit(Edited):
    """A limit. ``team_id`` None: the operator's, over all teams; ``agent`` and ``action`` None: every one.

    ``max_running`` jobs may have begun and not ended; ``rate`` may start each second, ``burst`` at once after a pause.
    ``running`` and ``waiting`` count the jobs that hold a permit, and those that this limit stops.
    """

    HAPPENS: ClassVar[frozenset[str]] = frozenset({"running", "waiting"})

    team_id: str | None
    agent: str | None
    action: str | None
    max_running: int | None
    rate: float | None
    burst: int | None
    updated_at: datetime
    running: int
    waiting: int

    @property
    def target(self) -> str:
        """``*``, ``agent`` or ``agent.action``."""
        return ".".join(part for part in (self.agent, self.action) if part) or "*"

    @property
    def owner(self) -> str:
        """Whose it is: ``team`` or ``operator``."""
        return "team" if self.team_id else "operator"


def put_limit(
    target: str, *, team_id: str | None, max_running: int | None = None, rate: float | None = None,
    burst: int | None = None, expected: Expected = ANYTHING,
) -> Limit:  # fmt: skip
    """Set a team's limit, or with ``team_id`` None the operator's over all teams. It holds at once.

    Jobs that run when a limit is made count as running; queued ones that nobody was rung for stand in its line.

    Raises:
        Invalid: names the field.
        PreconditionFailed: it is not as expected.
    """
    agent, action = _parts(target, team_id)
    if max_running is None and rate is None:
        raise invalid_field("/max_running", "required", "a limit needs max_running, rate, or both")
    if max_running is not None and not 0 <= max_running <= MOST:
        raise invalid_field("/max_running", "range", f"max_running must be 0 to {MOST}", max_running)
    if rate is not None and not 0 < rate <= MOST:
        raise invalid_field("/rate", "range", f"rate must be above 0 and at most {MOST} a second", rate)
    if burst is not None and (rate is None or not 1 <= burst <= MOST):
        raise invalid_field("/burst", "range", f"burst must be 1 to {MOST}, and goes with a rate", burst)
    scope = gate.scope_of(team_id, agent, action)
    saved = burst or max(1, int(rate or 1))
    with transaction() as session:
        setting_queries.lock_limit(session, scope=scope, team_id=team_id)
        present = _seen(session, scope, team_id)
        expected.check(present)
        is_new = setting_queries.put_limit(
            session, scope=scope, team_id=team_id, agent=agent, action=action, max_running=max_running, rate=rate,
            burst=saved,
        )  # fmt: skip
        if is_new:
            setting_queries.sweep(session, scope=scope, team_id=team_id, agent=agent, action=action)
        audit.record(
            session, "limit.set", target, team_id=team_id or PLATFORM, before=_told(present),
            after={"max_running": max_running, "rate": rate, "burst": saved if rate is not None else None},
        )  # fmt: skip
    _let_in(scope)
    return _find(scope, team_id)


def delete_limit(target: str, *, team_id: str | None, expected: Expected = ANYTHING) -> None:
    """Lift a limit. Raises NotFound when there is none, PreconditionFailed when it is not as expected."""
    scope = gate.scope_of(team_id, *_parts(target, team_id))
    with transaction() as session:
        setting_queries.lock_limit(session, scope=scope, team_id=team_id)
        found = _seen(session, scope, team_id)
        if found is None:
            raise NotFound(f"there is no limit of {target}")
        expected.check(found)
        setting_queries.remove_limit(session, scope=scope, team_id=team_id)
        audit.record(session, "limit.removed", target, team_id=team_id or PLATFORM, before=_told(found))
    _let_in(scope)


def list_limits(*, team_id: str | None) -> list[Limit]:
    """The limits that concern a team, its own and the operator's; with None those of all teams."""
    with transaction() as session:
        return [_view(row) for row in setting_queries.list_limits(session, team_id=team_id)]


def get_limit(target: str, *, team_id: str | None) -> Limit:
    """One limit. Raises NotFound."""
    return _find(gate.scope_of(team_id, *_parts(target, team_id)), team_id)


def _let_in(scope: str) -> None:
    for queue in gate.after_commit(lines={scope}):
        try_refill(queue)


def _told(limit: Limit | None) -> dict[str, Any]:
    """A limit as the audit log tells of it; nothing where there is none."""
    return {} if limit is None else {name: getattr(limit, name) for name in ("max_running", "rate", "burst")}


def _find(scope: str, team_id: str | None) -> Limit:
    with transaction() as session:
        found = _seen(session, scope, team_id)
    if found is None:
        raise NotFound("there is no such limit")
    return found


def _seen(session: Session, scope: str, team_id: str | None) -> Limit | None:
    rows = setting_queries.list_limits(session, team_id=team_id)
    return next((_view(row) for row in rows if row["scope"] == scope), None)


def _parts(target: str, team_id: str | None) -> Sequence[str | None]:
    agent, dot, action = target.partition(".")
    if target == "*":
        if team_id is None:
            raise Invalid("a limit over all teams names an agent, or an agent and an action")
        return None, None
    if not agent or (dot and not action) or "/" in target or "*" in target or len(target) > 200:  # noqa: PLR2004
        raise invalid_field("/target", "pattern", "a target is *, AGENT or AGENT.ACTION", target)
    return agent, action or None


def _view(row: RowMapping) -> Limit:
    known: dict[str, Any] = {name: row[name] for name in Limit.__slots__}
    return Limit(**known)
