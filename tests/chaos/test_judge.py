"""The judge finds each thing that must not be, and nothing in a run that went well."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.chaos import ledger
from tests.chaos.evidence import EventSeen, Evidence, JobSeen, Move, StepSeen
from tests.chaos.figures import absences, recoveries, resumptions
from tests.chaos.judge import LOOKS, judge
from tests.chaos.ledger import Line
from tests.chaos.load import Plan, Sample
from tests.chaos.receiver import Hook

KEY = "job_1:effect:0:0"


def job(**changes):
    made = JobSeen(
        id="job_1", name="one", agent="chaos", action="chain", status="succeeded", error=None, total=5, event_seq=3
    )
    return replace(made, **changes)


def step(**changes):
    return replace(
        StepSeen(id="stp_1", job_id="job_1", name="effect", item=0, status="succeeded", attempt=1), **changes
    )


def move(was, became, **changes):
    made = Move(kind="step", id="stp_1", was=was, became=became, worker_id="wrk_1", attempt=1, at=100.0)
    return replace(made, **changes)


def event(seq, kind, of=None):
    return EventSeen(job_id="job_1", seq=seq, type=kind, step=of)


def line(what, attempt, key=KEY):
    return Line(what=what, key=key, attempt=attempt, pid=7)


def entry(**changes):
    fault = SimpleNamespace(name="worker-killed", kills=True)
    times = {"began": 101.0, "struck": 101.0, "ended": 101.0, "excused_until": 111.0}
    made = {"fault": fault, "alone": True, "excuses": False, "note": "pid 7", "not_run": ""}
    return SimpleNamespace(**(times | made | changes))


def sample(at, failed=""):
    return Sample(kind="read", at=at, seconds=0.1, failed=failed)


PLAN = Plan(name="one", agent="chaos", action="chain", input={}, loud=True, total=5)
HOOK = Hook(id="evt_1", type="job.succeeded", job_id="job_1", forged="")
GOOD = Evidence(
    accepted={"one": "job_1"}, plans={"one": PLAN}, jobs=[job()], steps=[step()],
    moves=[move(None, "ready"), move("ready", "running"), move("running", "succeeded")],
    events=[event(1, "job.started"), event(2, "step.succeeded", "effect"), event(3, "job.succeeded")],
    effects=Counter([KEY]), ledger=[line(ledger.BEGINS, 1)], hooks=[HOOK, HOOK], samples=[sample(1.0)], log=[],
    workers={7: "wrk_1"},
)  # fmt: skip

BAD = {
    "lost": {"accepted": {"one": "job_1", "two": "job_2"}, "plans": {"one": PLAN, "two": PLAN}},
    "stuck": {"jobs": [job(status="running")]},
    "made twice": {"jobs": [job(), job()]},
    "wrong end": {"jobs": [job(total=4)]},
    "illegal move": {"moves": [move("succeeded", "ready")]},
    "effect": {"effects": Counter([KEY, KEY])},
    "event": {"events": [event(1, "job.started"), event(3, "step.succeeded", "effect"), event(4, "job.succeeded")]},
    "ran after record": {"ledger": [line(ledger.BEGINS, 1), line(ledger.BEGINS, 2)]},
    "paid twice": {"ledger": [line(ledger.CALLED, 1), line(ledger.NOTED, 1), line(ledger.CALLED, 2)]},
    "webhook": {"hooks": [HOOK, replace(HOOK, id="evt_2")]},
    "API away": {"samples": [sample(1.0, failed="Unreachable")]},
}


def kinds(seen):
    return {finding.kind for finding in judge(seen, lost_limit=5)}


def test_a_run_that_went_well_has_no_findings():
    assert kinds(GOOD) == set()


@pytest.mark.parametrize("kind", LOOKS)
def test_what_must_not_be_is_found(kind):
    assert kind in kinds(replace(GOOD, **BAD[kind]))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("effect", {"effects": Counter()}),
        ("effect", {"steps": [step(status="failed")]}),
        ("event", {"events": [event(1, "job.started"), event(2, "step.succeeded", "effect"), event(3, "job.failed")]}),
        ("event", {"events": [*GOOD.events[:2], event(3, "step.succeeded", "effect")]}),
        ("wrong end", {"jobs": [job(status="failed", error="worker-lost", total=None)]}),
        ("webhook", {"hooks": []}),
        ("webhook", {"hooks": [replace(HOOK, forged="no signature matches")]}),
        ("webhook", {"plans": {"one": replace(PLAN, loud=False)}}),
        ("illegal move", {"moves": [move("succeeded", "failed", kind="job")]}),
    ],
)
def test_its_other_forms_are_found(kind, changes):
    assert kind in kinds(replace(GOOD, **changes))


def test_a_job_that_lost_as_many_workers_as_the_limit_says_may_fail_for_it():
    losses = [move("running", "ready")] * 4 + [move("running", "failed")]
    failed = {"jobs": [job(status="failed", error="worker-lost", total=None)], "steps": [step(status="failed")]}
    assert "wrong end" not in kinds(replace(GOOD, moves=losses, **failed))
    assert "wrong end" in kinds(replace(GOOD, moves=losses[1:], **failed))


def test_a_zombie_that_pays_late_is_no_second_payment():
    """Its note is refused by the fence, and its call was made before it could know."""
    lines = [line(ledger.CALLED, 2), line(ledger.NOTED, 2), line(ledger.CALLED, 1)]
    assert "paid twice" not in kinds(replace(GOOD, ledger=lines))


def test_only_faults_that_excuse_it_excuse_the_api():
    failed = [sample(105.0, failed="Unreachable")]
    assert "API away" not in kinds(replace(GOOD, samples=failed, log=[entry(excuses=True)]))
    assert "API away" in kinds(replace(GOOD, samples=failed, log=[entry(excuses=False)]))


def test_the_figures_of_a_kill():
    """A step that the killed worker held is taken back and tried again; what it had recorded does not count.

    The step began while the fault still looked for one to meet.
    """
    moves = [
        move("ready", "running", at=100.0), move("running", "ready", at=109.0),
        move("ready", "running", at=110.5, worker_id="wrk_2"), move("running", "succeeded", at=111.0),
        move("ready", "running", id="stp_2", at=100.0), move("running", "succeeded", id="stp_2", at=100.5),
    ]  # fmt: skip
    answers = [sample(101.0, failed="Unreachable"), sample(104.0)]
    seen = replace(GOOD, moves=moves, samples=answers, log=[entry(excuses=True, began=99.0)])
    assert resumptions(seen) == resumptions(seen, alone=True) == [9.5]
    assert recoveries(seen) == {"worker-killed": [10.0]}
    assert absences(seen) == {"worker-killed": [5.0]}
