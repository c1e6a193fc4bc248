"""Unique and debounced jobs: a second submit makes no second job, exactly, whoever submits at the same time."""

import threading
from datetime import timedelta

import pytest

from agora.agents import StepContext
from agora.clock import now
from agora.dispatcher import duties
from agora.errors import Invalid
from agora.idempotency.keys import IdempotencyKey
from agora.jobs import limits, service
from agora.jobs.types import Submission
from agora.jobs.unique import Debounce, Unique
from api.app import create_app
from tests.support.caller import Caller
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

pytestmark = pytest.mark.usefixtures("db")


def plain(ctx: StepContext[Number]) -> Number:
    return ctx.input


@pytest.fixture
def rig(monkeypatch):
    return Rig(monkeypatch, agent_with(plain=[plain], other=[plain]))


def submit(rig, n=1, *, action="plain", team=None, idempotency=None, **options):
    submission = Submission(agent="probe", action=action, input={"n": n}, **options)
    return service.submit(submission, team_id=team or rig.team_id, idempotency=idempotency)


def due(rig, job):
    """Let a job's time come."""
    rig.sql("UPDATE steps SET run_at = now() WHERE job_id = :id", id=job.id)
    duties.release_due()
    duties.refill_rings()


def count(rig):
    return rig.sql("SELECT count(*) AS n FROM jobs")[0]["n"]


def test_while_a_job_with_the_key_is_open_a_submit_gets_it(rig):
    first = submit(rig, unique=Unique(key="k"))
    second = submit(rig, 2, unique=Unique(key="k"))
    assert (second.job.id, second.deduplicated, first.deduplicated) == (first.job.id, True, False)
    rig.run()
    third = submit(rig, unique=Unique(key="k"))
    assert (third.deduplicated, count(rig)) == (False, 2)


def test_within_the_window_a_job_counts_also_when_it_has_ended(rig):
    first = submit(rig, unique=Unique(key="k"))
    rig.run()
    assert submit(rig, unique=Unique(key="k", window=60)).job.id == first.job.id
    rig.sql("UPDATE jobs SET created_at = created_at - interval '61 s'")
    assert not submit(rig, unique=Unique(key="k", window=60)).deduplicated


def test_only_the_states_that_are_named_count(rig):
    first = submit(rig, unique=Unique(key="k"))
    rig.run()
    assert submit(rig, unique=Unique(key="k", states=("succeeded",))).job.id == first.job.id
    assert not submit(rig, unique=Unique(key="k", states=("queued",))).deduplicated


def test_a_cancelled_job_does_not_count(rig):
    first = submit(rig, unique=Unique(key="k", window=60))
    service.cancel_job(first.job.id, team_id=rig.team_id)
    assert not submit(rig, unique=Unique(key="k", window=60)).deduplicated


def test_keys_are_the_teams_and_the_actions_own(rig):
    submit(rig, unique=Unique(key="k"))
    assert not submit(rig, action="other", unique=Unique(key="k")).deduplicated
    assert not submit(rig, team="team_other", unique=Unique(key="k")).deduplicated
    assert not submit(rig, debounce=Debounce(key="k", window=60)).deduplicated


def test_an_idempotency_key_leads_to_the_same_twin_again(rig):
    first = submit(rig, unique=Unique(key="k"))
    known = IdempotencyKey(key="i", route="r", fingerprint="f")
    assert submit(rig, unique=Unique(key="k"), idempotency=known).job.id == first.job.id
    again = submit(rig, unique=Unique(key="k"), idempotency=known)
    assert (again.job.id, again.replayed) == (first.job.id, True)


def at_once(times, task):
    found, errors = [], []

    def run():
        try:
            found.append(task())
        except Exception as error:  # noqa: BLE001  # shown below
            errors.append(error)

    for _ in range(times // 10):
        threads = [threading.Thread(target=run) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not errors, errors
    return found


def test_fifty_submits_at_once_make_one_job(rig):
    found = at_once(50, lambda: submit(rig, unique=Unique(key="k")))
    assert len({one.job.id for one in found}) == 1
    assert sum(not one.deduplicated for one in found) == 1
    assert (count(rig), len(rig.rung)) == (1, 1)


def test_fifty_debounced_submits_at_once_make_one_job(rig):
    found = at_once(50, lambda: submit(rig, debounce=Debounce(key="k", window=60)))
    assert len({one.job.id for one in found}) == 1
    assert count(rig) == 1
    assert rig.events(found[0].job) == ["job.created"] + ["job.debounced"] * 49


def test_a_debounced_job_runs_once_with_the_last_input_a_window_after_the_last_submit(rig):
    first = submit(rig, 1, debounce=Debounce(key="k", window=30))
    assert first.job.status == "scheduled"
    rig.sql("UPDATE jobs SET created_at = created_at - interval '20 s', run_at = run_at - interval '20 s'")
    rig.sql("UPDATE steps SET run_at = run_at - interval '20 s'")
    second = submit(rig, 2, debounce=Debounce(key="k", window=30), metadata={"which": "second"}, priority=7)
    assert (second.job.id, second.deduplicated) == (first.job.id, True)
    assert timedelta(seconds=28) < second.job.run_at - now() <= timedelta(seconds=30)
    assert second.job.steps[0].run_at == second.job.run_at
    assert (second.job.input, second.job.metadata, second.job.priority) == ({"n": 2}, {"which": "second"}, 7)
    due(rig, first.job)
    assert rig.run() == ["succeeded"]
    assert rig.job(first.job).output == {"n": 2}
    assert not submit(rig, 3, debounce=Debounce(key="k", window=30)).deduplicated


def test_a_debounced_job_is_not_put_off_for_ever(rig):
    first = submit(rig, debounce=Debounce(key="k", window=30, max_wait=45))
    rig.sql("UPDATE jobs SET created_at = created_at - interval '40 s'")
    second = submit(rig, 2, debounce=Debounce(key="k", window=30, max_wait=45))
    assert second.job.id == first.job.id
    assert timedelta(0) < second.job.run_at - now() <= timedelta(seconds=5)


def test_once_it_is_due_another_submit_makes_another_job(rig):
    first = submit(rig, debounce=Debounce(key="k", window=30))
    due(rig, first.job)
    second = submit(rig, 2, debounce=Debounce(key="k", window=30))
    assert (second.job.id == first.job.id, second.deduplicated) == (False, False)
    assert rig.job(first.job).input == {"n": 1}


def test_a_debounced_input_is_checked_like_any_other_and_changes_nothing_when_it_is_wrong(rig):
    first = submit(rig, debounce=Debounce(key="k", window=30))
    with pytest.raises(Invalid):
        submit(rig, "much", debounce=Debounce(key="k", window=30))
    assert rig.job(first.job).input == {"n": 1}


def test_a_debounced_job_under_a_limit_keeps_its_place_by_its_new_time(rig):
    limits.put_limit("probe", team_id=rig.team_id, max_running=1)
    first = submit(rig, debounce=Debounce(key="k", window=30))
    submit(rig, 2, debounce=Debounce(key="k", window=50))
    (row,) = rig.sql(
        "SELECT p.place = s.place AS same FROM permits p JOIN steps s ON s.job_id = p.job_id WHERE p.job_id = :id",
        id=first.job.id,
    )
    assert row["same"]
    due(rig, first.job)
    assert rig.run() == ["succeeded"]


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"unique": Unique(key="")}, "/unique/key"),
        ({"unique": Unique(key="k", window=0)}, "/unique/window"),
        ({"unique": Unique(key="k", states=("lost",))}, "/unique/states"),
        ({"debounce": Debounce(key="k", window=100_000)}, "/debounce/window"),
        ({"debounce": Debounce(key="k", window=10, max_wait=5)}, "/debounce/max_wait"),
        ({"debounce": Debounce(key="k", window=10), "unique": Unique(key="k")}, "/unique"),
        ({"debounce": Debounce(key="k", window=10), "run_at": now() + timedelta(hours=1)}, "/run_at"),
    ],
)
def test_what_is_wrong_is_refused_and_names_the_field(rig, options, pointer):
    with pytest.raises(Invalid) as refused:
        submit(rig, **options)
    assert refused.value.errors[0].pointer == pointer
    assert count(rig) == 0


def test_keys_are_forgotten_a_day_after_their_job_has_ended(rig):
    submit(rig, unique=Unique(key="ended"))
    rig.run()
    submit(rig, unique=Unique(key="open"))
    rig.sql("UPDATE unique_keys SET taken_at = taken_at - interval '25 h'")
    duties.tidy()
    assert [row["key"] for row in rig.sql("SELECT key FROM unique_keys")] == ["open"]


def test_the_api_answers_with_the_twin(rig):
    caller = Caller(create_app())
    body = {"agent": "probe", "action": "plain", "input": {}, "unique": {"key": "k"}}
    first, second = (caller.post("/api/v1/jobs", json=body) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 200)
    assert (second.json["id"], second.json["deduplicated"]) == (first.json["id"], True)
    body = {"agent": "probe", "action": "plain", "input": {}, "debounce": {"key": "k", "window": 5}}
    assert [caller.post("/api/v1/jobs", json=body).status_code for _ in range(2)] == [202, 200]
    wrong = caller.post("/api/v1/jobs", json=body | {"debounce": {"key": "k"}})
    assert (wrong.status_code, wrong.json["errors"][0]["pointer"]) == (422, "/debounce/window")
