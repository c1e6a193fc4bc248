"""Test-only builds of the engine: each takes away one thing that it relies on, so that the judge must find something.

Asked for by ``CHAOS_WITHOUT``, names with commas, in the environment of workers and dispatcher. Never imported by the
platform itself.
"""

import os

from sqlalchemy import text

from agora.jobs import record_queries, ring_queries, step_queries

FENCE = "WHERE s.status = given.from_status AND s.fence IS NOT DISTINCT FROM given.fence"


def without_fence():
    """Whoever ran a step may record it, also after somebody else did."""
    if FENCE not in record_queries.RECORD.text:
        raise AssertionError("the fence is not where the test-only build takes it away")
    record_queries.RECORD = text(record_queries.RECORD.text.replace(FENCE, ""))


def without_rering():
    """A ring that the broker lost is not rung again."""
    ring_queries.rering = lambda *_, **__: []


def without_memo():
    """``ctx.once`` never finds what it noted, and notes nothing."""
    step_queries.find_note = lambda *_, **__: None
    step_queries.add_note = lambda *_, **__: True


BUILDS = {"fence": without_fence, "rering": without_rering, "memo": without_memo}


def apply():
    """Make this process the build that was asked for. Raises KeyError for one that does not exist."""
    for asked in filter(None, os.environ.get("CHAOS_WITHOUT", "").split(",")):
        BUILDS[asked]()
