"""psycopg parses statements of up to 4,096 characters once, longer ones at each execution."""

import pytest

from agora.db.session import _plain
from agora.jobs import intake_queries, record_queries, step_queries

HOT = {
    "submit": intake_queries.INSERT_JOBS, "claim one": step_queries.CLAIM_ONE, "claim next": step_queries.CLAIM_NEXT,
    "record": record_queries.RECORD, "renew": step_queries.RENEW,
}  # fmt: skip


@pytest.mark.parametrize("name", HOT)
def test_hot_statements_are_parsed_once(name):
    assert len(_plain(HOT[name].text)) <= 4096
