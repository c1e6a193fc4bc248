"""Pages of jobs: every filter, alone and with others, gives what a look at every job gives."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from agora.db.session import transaction
from agora.jobs import service
from agora.jobs.list_queries import list_jobs
from agora.jobs.types import JobFilter
from agora.paging import Span
from bench.past import BIG, MONTHS, fill

JOBS, RARE, PAGE = 400, 40, 13
LAST = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
EARLY, LATE = LAST - timedelta(days=25 * MONTHS), LAST - timedelta(days=5 * MONTHS)
STATUSES = [(), ("failed",), ("failed", "cancelled"), ("failed", "succeeded", "waiting"), ("queued", "running")]
OTHERS = [
    {}, {"agent": "bench"}, {"agent": "rare"}, {"agent": "bench", "action": "chain"}, {"action": "none"},
    {"error_code": "rare"}, {"error_code": "step-failed", "agent": "bench"}, {"metadata": {"kind": "batch"}},
    {"metadata": {"customer": "rare"}, "agent": "rare"}, {"created_before": EARLY}, {"created_after": LATE},
    {"created_after": EARLY, "created_before": LATE, "agent": "bench"},
]  # fmt: skip


def matches(job, filters):
    """Whether a job is one of those, condition by condition."""
    return (
        (not filters.statuses or job.status in filters.statuses)
        and filters.agent in {None, job.agent}
        and filters.action in {None, job.action}
        and (filters.error_code is None or (job.error or {}).get("code") == filters.error_code)
        and (filters.metadata or {}).items() <= job.metadata.items()
        and (filters.created_after is None or job.created_at >= filters.created_after)
        and (filters.created_before is None or job.created_at < filters.created_before)
    )


def pages(filters):
    """All jobs of a list, page by page."""
    found, cursor = [], None
    for _ in range(JOBS):
        page = service.list_jobs(filters, team_id=BIG, limit=PAGE, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError("the list does not end")


def test_every_filter_gives_what_matches_newest_first_page_by_page(db):
    fill(db["DATABASE_URL"], JOBS, until=LAST, rare=RARE)
    everything = pages(JobFilter())
    assert len(everything) > JOBS / 5
    assert [job.id for job in everything] == sorted((job.id for job in everything), reverse=True)
    found = 0
    for statuses, others in product(STATUSES, OTHERS):
        filters = JobFilter(statuses=statuses, **others)
        expected = [job.id for job in everything if matches(job, filters)]
        assert [job.id for job in pages(filters)] == expected, filters
        found += bool(expected)
    assert found > len(OTHERS)


@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_any_moment_can_be_asked_for(db, moment):
    fill(db["DATABASE_URL"], 40, until=LAST)
    after, before = pages(JobFilter(created_after=moment)), pages(JobFilter(created_before=moment))
    assert sorted([bool(after), bool(before)]) == [False, True]


def test_a_job_of_a_host_whose_clock_is_minutes_off_is_found_by_its_time(db):
    fill(db["DATABASE_URL"], 40, until=LAST)
    with transaction() as session:
        job = list_jobs(session, team_id=BIG, filters=JobFilter(), span=Span(1))[0]
        job.created_at += timedelta(minutes=4)
        at, job_id = job.created_at, job.id
    after, before = JobFilter(created_after=at), JobFilter(created_before=at + timedelta(seconds=1))
    assert [one.id for one in pages(after)] == [job_id]
    assert job_id in {one.id for one in pages(before)}
