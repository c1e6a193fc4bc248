"""The state machines: the table is what the database and the code say."""

from pathlib import Path

import pytest
from sqlalchemy import CheckConstraint

from agora.jobs import models
from agora.jobs.states import (
    JOB_ENDED,
    JOB_TRANSITIONS,
    STEP_TRANSITIONS,
    JobState,
    StepState,
    as_mermaid,
    may_become,
)


@pytest.mark.parametrize(("table", "states"), [(JOB_TRANSITIONS, JobState), (STEP_TRANSITIONS, StepState)])
def test_every_state_has_its_moves_and_all_but_the_first_can_be_reached(table, states):
    assert set(table) == set(states)
    reachable = set().union(*table.values())
    starts = {JobState.SCHEDULED, StepState.READY, StepState.COPIED}
    assert set(states) - reachable <= starts


def test_ended_jobs_never_move_again():
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == JOB_ENDED
    assert all(not JOB_TRANSITIONS[state] for state in JOB_ENDED)


def test_every_open_state_can_be_cancelled_and_can_fail():
    open_states = sorted(set(JobState) - JOB_ENDED)
    assert may_become(JobState.CANCELLED) == open_states
    assert may_become(JobState.FAILED) == open_states


@pytest.mark.parametrize(("row", "states"), [(models.JobRow, JobState), (models.StepRow, StepState)])
def test_the_database_repeats_the_states_as_a_check(row, states):
    checks = [c for c in row.__table__.constraints if isinstance(c, CheckConstraint) and "status IN" in str(c.sqltext)]
    listed = next(str(c.sqltext) for c in checks if str(c.sqltext).startswith("status IN"))
    assert {part.strip(" '") for part in listed.split("(")[1].rstrip(")").split(",")} == {str(s) for s in states}


def test_the_documentation_shows_the_tables_as_they_are():
    """When it fails: write what `as_mermaid()` returns below the first paragraph of docs/states.md."""
    shown = (Path(__file__).parents[2] / "docs" / "states.md").read_text(encoding="utf-8")
    assert shown.endswith(as_mermaid())
