"""Large values that a row replaces: their content goes, as that of removed rows does, and what is referred to stays."""

import pytest

from agora.agents import StepContext
from agora.files import service as files
from agora.files import store
from agora.jobs import context, service
from agora.jobs.types import Submission
from agora.jobs.unique import Debounce
from agora.retention import duties
from agora.schedules import service as schedules
from agora.schedules.types import NewSchedule
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")
FIRST, SECOND, THIRD = ({"n": 1, "more": sign * 100_000} for sign in "abc")


@pytest.fixture
def rig(monkeypatch):
    def only(ctx: StepContext[Number]) -> Number:
        return ctx.input

    return Rig(monkeypatch, agent_with(job=[only]))


def noted(rig):
    return [row["location"] for row in rig.sql("SELECT location FROM leftovers ORDER BY noted_at")]


def after_days(rig):
    for _ in range(3):
        rig.sql("UPDATE leftovers SET noted_at = noted_at - interval '25 hours', "
                "trashed_at = trashed_at - interval '25 hours'")  # fmt: skip
        duties.remove_leftovers()


def ref_of(rig, table, column, row_id):
    (row,) = rig.sql(f"SELECT {column} ->> 'ref' AS ref FROM {table} WHERE id = :id", id=row_id)
    return row["ref"]


def test_a_replaced_partial_output_goes_and_the_last_one_stays(monkeypatch):
    seen = []

    def show(ctx: StepContext[Number]) -> Number:
        for value in (FIRST, FIRST, SECOND, SECOND):
            ctx.partial(value)
            seen.append(ref_of(rig, "jobs", "partial_output", ctx.job_id))
        return Number()

    monkeypatch.setattr(context, "PROGRESS_SECONDS", 0.0)
    rig = Rig(monkeypatch, agent_with(show=[show]))
    job = rig.submit("show")
    assert rig.run() == ["succeeded"]
    first, again, second, _ = seen
    assert (again, second != first) == (first, True)
    assert noted(rig) == [first]
    after_days(rig)
    assert [store.exists(one) for one in (first, second)] == [False, True]
    assert rig.job(job).partial_output == SECOND


def test_a_partial_output_that_comes_too_soon_to_be_shown_is_not_stored(monkeypatch):
    stored, put = [], files.put_value

    def counted(team_id, content):
        stored.append(content[:20])
        return put(team_id, content)

    def show(ctx: StepContext[Number]) -> Number:
        for value in (FIRST, SECOND, THIRD):
            ctx.partial(value)
        return Number()

    monkeypatch.setattr(files, "put_value", counted)
    monkeypatch.setattr(context, "PROGRESS_SECONDS", 60.0)
    rig = Rig(monkeypatch, agent_with(show=[show]))
    job = rig.submit("show")
    assert rig.run() == ["succeeded"]
    assert rig.job(job).partial_output == THIRD, "the last one when the step ends"
    assert len(stored) == 2


def test_the_replaced_input_of_a_debounced_job_goes(rig):
    def submitted(value):
        submission = Submission(agent="probe", action="job", input=value, debounce=Debounce(key="k", window=60))
        job = service.submit(submission, team_id=rig.team_id).job
        return ref_of(rig, "jobs", "input", job.id)

    first, second, again, third = (submitted(value) for value in (FIRST, SECOND, SECOND, THIRD))
    assert again == second
    assert noted(rig) == [first, second]
    after_days(rig)
    assert [store.exists(one) for one in (first, second, third)] == [False, False, True]


def test_the_replaced_input_of_a_schedule_goes_and_that_of_a_deleted_one(rig):
    new = NewSchedule(name="s", agent="probe", action="job", every=3600.0, input=FIRST)
    made = schedules.create_schedule(new, team_id=rig.team_id)[0]
    first = ref_of(rig, "schedules", "input", made.id)
    for changes in ({"input": FIRST}, {"every": 60.0}):
        schedules.update_schedule("s", changes, team_id=rig.team_id)
        assert noted(rig) == []
    schedules.update_schedule("s", {"input": SECOND}, team_id=rig.team_id)
    second = ref_of(rig, "schedules", "input", made.id)
    assert noted(rig) == [first]
    schedules.delete_schedule("s", team_id=rig.team_id)
    assert noted(rig) == [first, second]
    after_days(rig)
    assert [store.exists(one) for one in (first, second)] == [False, False]
