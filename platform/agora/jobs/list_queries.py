"""SQL of lists of jobs: pages and filters, each by an index, so that a page costs the same however much has ended.

| filter | what is walked |
| --- | --- |
| none, ``created_*`` | ``(team_id, id)``, between ids that were made at those times |
| ``statuses`` | ``(team_id, status, id)``, one ordered walk for each status, merged |
| ``agent`` | of ended jobs ``(team_id, agent, status, id)``, likewise; of open ones those of all agents by status |
| ``action`` | it is looked for among the jobs of the agent |
| ``error_code`` | ``(team_id, error code, id)``, of jobs that have an error |
| ``metadata`` | what few have: all that match, by the index over metadata; what many have: the team's newest jobs |
| ``batch_id``, ``schedule_id``, ``parent_id`` | an index of their own |

Of several filters Postgres takes the one that it thinks leaves least, and looks at the others row by row. How many have
some metadata it knows from its statistics, over all teams: what is common with others and rare here is a long walk.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, literal_column, select, text, true, union_all
from sqlalchemy.orm import Session

from agora.ids import CLOCKS, floor_id
from agora.jobs.models import JobRow
from agora.jobs.states import JOB_ENDED, JobState
from agora.jobs.types import JobFilter
from agora.paging import Span

OLDEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
ERROR_CODE: Final[ColumnElement[str]] = literal_column("(jobs.error ->> 'code')")
"""As the index has it: with a parameter in it no plan that is kept could use that index."""


FOR_THESE_VALUES: Final = text("SET LOCAL plan_cache_mode = 'force_custom_plan'")
"""A plan for any values would take what is rare for common, and walk past all that ended to find it."""
T = TypeVar("T")


def list_jobs(session: Session, *, team_id: str, filters: JobFilter, span: Span) -> Sequence[JobRow]:
    """A page of the team's jobs.

    For the rest of its transaction Postgres makes the plan of each statement for its very values.
    """
    own = select(JobRow).where(JobRow.team_id == team_id)
    if any(asdict(filters).values()):
        session.execute(FOR_THESE_VALUES)
    arms = [replace(filters, statuses=(status,)) for status in _statuses(filters)] or [filters]
    return session.scalars(_merged([span.of(filtered(own, arm), JobRow.id) for arm in arms], span)).all()


def _statuses(filters: JobFilter) -> Sequence[str]:
    """Those for which there is an ordered walk each: the given ones, all for the jobs of an agent, or none."""
    return sorted(set(filters.statuses)) or (list(JobState) if filters.agent and not filters.error_code else [])


def _merged(arms: Sequence[Select[JobRow]], span: Span) -> Select[JobRow]:
    """Ordered statements as one: Postgres takes from each only as many rows as it needs."""
    if len(arms) == 1:
        return arms[0]
    ids = union_all(*(arm.with_only_columns(JobRow.id).subquery().select() for arm in arms)).subquery()
    page = Span(span.limit, sort=span.sort).of(select(ids.c.id), ids.c.id).subquery()
    return (
        select(JobRow).join(page, page.c.id == JobRow.id).order_by(page.c.id.desc() if span.descending else page.c.id)
    )


def filtered(statement: Select[T], filters: JobFilter) -> Select[T]:
    """A statement over jobs, narrowed by a filter."""
    given = {name: value for name, value in asdict(filters).items() if value}
    conditions: dict[str, Callable[[Any], ColumnElement[bool]]] = {
        "statuses": lambda value: JobRow.status == value[0] if len(value) == 1 else JobRow.status.in_(value),
        # Where the second condition says nothing new, it is what lets the index over ended jobs serve.
        "agent": lambda value: (JobRow.agent == value) & _ended(filters.statuses),
        "action": lambda value: JobRow.action == value,
        "error_code": lambda value: (value == ERROR_CODE) & JobRow.error.is_not(None),
        "created_after": lambda value: (JobRow.created_at >= value) & (JobRow.id >= _id_at(value, -CLOCKS)),
        "created_before": lambda value: (JobRow.created_at < value) & (JobRow.id < _id_at(value, CLOCKS)),
        # The second condition says what the index over metadata leaves out.
        "metadata": lambda value: JobRow.labels.contains(value) & (JobRow.labels != {}),
        "batch_id": lambda value: JobRow.batch_id == value,
        "schedule_id": lambda value: JobRow.schedule_id == value,
        "parent_id": lambda value: JobRow.parent_id == value,
    }
    return statement.where(*(conditions[name](value) for name, value in given.items()))


def _ended(statuses: Sequence[str]) -> ColumnElement[bool]:
    return JobRow.ended_at.is_not(None) if statuses and JOB_ENDED.issuperset(statuses) else true()


def _id_at(moment: datetime, clocks: timedelta) -> str:
    """The id that a job made at that time would have, or the first or last there can be."""
    latest = datetime.max.replace(tzinfo=UTC) - CLOCKS
    return floor_id("job", min(latest, max(OLDEST + CLOCKS, moment)) + clocks)
