"""A random walk of callers, workers, time and the dispatcher over real rows: no move but those of the tables.

Each rule is something that somebody does to the platform. After each, every job and step must stand where the tables
allow it to have gone, what has ended must be as it was, and the events must be numbered without a gap. At the end of a
walk everything still open must be able to end.
"""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from agora.agents import Repeat, Retry, Snooze, StepContext, Transient, WaitFor
from agora.batches.duties import CompleteBatches, cancel_batches
from agora.batches.service import cancel_batch, submit_batch
from agora.clock import now
from agora.dispatcher import duties
from agora.errors import AgoraError
from agora.jobs import approval, lineage, service
from agora.jobs.lineage import Wish
from agora.jobs.states import JOB_ENDED, JOB_TRANSITIONS, STEP_TRANSITIONS, JobState, StepState
from agora.jobs.types import Budget, Submission
from agora.outcomes import Permanent
from tests.support.probes import Number, agent_with
from tests.support.rig import Rig

AT_ONCE = Retry(attempts=2, first=timedelta(0))
KINDS = {
    0: "succeeds", 1: "retries", 2: "fails", 3: "asks", 4: "naps", 5: "repeats", 6: "is cancelled meanwhile",
    7: "is late meanwhile", 8: "spends",
}  # fmt: skip


def behave(ctx: StepContext[Number]) -> Number | WaitFor | Snooze | Repeat:
    kind = KINDS[ctx.input.n]
    if kind == "retries" and ctx.attempt == 1:
        raise Transient("once more")
    if kind == "fails":
        raise Permanent("never")
    if kind == "asks":
        return WaitFor({"type": "object"}, "which?", until=now() + timedelta(hours=1))
    if kind == "naps":
        return Snooze(now() + timedelta(hours=1))
    if kind == "is cancelled meanwhile":
        service.cancel_job(ctx.job_id, team_id=ctx.team_id)
    if kind == "is late meanwhile":
        Walk.rig.sql("UPDATE jobs SET deadline = now() WHERE id = :id", id=ctx.job_id)
        duties.fail_late_jobs()
    if kind == "spends":
        ctx.use(tokens_in=60, key="first")
        ctx.use(tokens_in=60, key="second")
        ctx.check()
    if kind == "repeats" and ctx.iteration == 0:
        return Repeat("begin")
    return ctx.input


def begin(ctx: StepContext[Number]) -> int:
    ctx.use(tokens_in=60)
    return 1


def finish(ctx: StepContext[Number]) -> Number:
    return ctx.input


def reachable(table, start):
    """Every state that moves of the table lead to, the start among them."""
    seen, todo = {start}, [start]
    while todo:
        new = table[todo.pop()] - seen
        seen |= new
        todo.extend(new)
    return seen


class Walk(RuleBasedStateMachine):
    """One team's jobs, and all that can happen to them."""

    rig = None

    def __init__(self):
        super().__init__()
        self.rig.rung.clear()
        self.jobs, self.job_states, self.step_states, self.ended = [], {}, {}, {}

    def pick(self, which):
        return self.jobs[which % len(self.jobs)]

    @rule(
        kind=st.sampled_from(sorted(KINDS)), later=st.booleans(), deadline=st.booleans(),
        tokens=st.sampled_from([None, 50, 100, 1000]), on_exceeded=st.sampled_from(["fail", "ask"]),
    )  # fmt: skip
    def submit(self, kind, later, deadline, tokens, on_exceeded):
        options = {"run_at": now() + timedelta(hours=1)} if later else {}
        if deadline:
            options["deadline"] = now() + timedelta(hours=2)
        if tokens:
            options["budget"] = Budget(max_tokens=tokens, queue_timeout=3600, on_exceeded=on_exceeded)
        self.jobs.append(self.rig.submit("walk", {"n": kind}, **options))

    @precondition(lambda self: self.rig.rung)
    @rule()
    def a_worker_hears_a_ring(self):
        self.rig.engine.run(self.rig.rung.popleft().step_id)

    @precondition(lambda self: self.rig.rung)
    @rule(cancelled=st.booleans())
    def a_worker_takes_a_step_and_dies(self, cancelled):
        claims = self.rig.engine.claimer.one(self.rig.rung.popleft().step_id).claims
        if claims and cancelled:
            service.cancel_job(claims[0].job.id, team_id=self.rig.team_id)
        self.touch("UPDATE steps SET lease_expires_at = now() - interval '1 s' WHERE status = 'running'")

    @precondition(lambda self: self.rig.rung)
    @rule()
    def a_ring_is_lost(self):
        self.rig.rung.popleft()

    @precondition(lambda self: self.rig.rung)
    @rule()
    def a_ring_is_doubled(self):
        self.rig.rung.append(self.rig.rung[0])

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 100))
    def a_caller_cancels(self, which):
        self.refusable(lambda: service.cancel_job(self.pick(which).id, team_id=self.rig.team_id))

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 100), right=st.booleans())
    def a_caller_answers(self, which, right):
        value = {"it": 1} if right else 1
        self.refusable(lambda: service.give_input(self.pick(which).id, team_id=self.rig.team_id, value=value))

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 100))
    def somebody_approves(self, which):
        self.refusable(lambda: approval.approve_job(self.pick(which).id, team_id=self.rig.team_id))

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 100))
    def nothing_began_in_time(self, which):
        job = self.pick(which)
        self.touch("UPDATE jobs SET start_by = now() WHERE start_by IS NOT NULL AND id = :id", id=job.id)

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 100), fork=st.booleans(), step=st.sampled_from([None, "begin", "behave", "finish"]))
    def a_caller_goes_on_from_a_job(self, which, fork, step):
        wish = Wish(fork=fork, from_step=step or ("begin" if fork else None))
        self.refusable(lambda: self.jobs.append(lineage.go_on(self.pick(which).id, wish, team_id=self.rig.team_id).job))

    @rule(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3), cancelled=st.booleans())
    def a_batch_comes(self, kinds, cancelled):
        submissions = [Submission(agent=self.rig.agent.name, action="walk", input={"n": kind}) for kind in kinds]
        made = submit_batch(submissions, team_id=self.rig.team_id)
        self.jobs += [service.get_job(job_id, team_id=self.rig.team_id) for job_id in made.job_ids]
        if cancelled:
            cancel_batch(made.batch.id, team_id=self.rig.team_id)

    @rule()
    def time_passes(self):
        self.touch("UPDATE steps SET run_at = now() WHERE run_at > now()")
        self.touch("UPDATE steps SET wake_at = now() WHERE wake_at > now()")
        self.touch("UPDATE steps SET rung_at = now() - interval '1 h' WHERE rung_at IS NOT NULL")

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 100))
    def a_deadline_passes(self, which):
        job = self.pick(which)
        self.touch("UPDATE jobs SET deadline = now() WHERE deadline IS NOT NULL AND id = :id", id=job.id)

    @rule()
    def the_dispatcher_ticks(self):
        self.rig.sql("UPDATE workers SET seen_at = now()")  # a walk takes longer than a silent worker counts as alive
        for duty in (
            duties.release_due, duties.refill_rings, duties.rering_unheard, duties.return_lost_leases,
            duties.wake_suspended, duties.fail_late_jobs, duties.fail_unstarted_jobs, duties.finish_cancels,
            cancel_batches, CompleteBatches(),
        ):  # fmt: skip
            duty()

    def touch(self, statement, **parameters):
        self.rig.sql(f"{statement} AND team_id = :team", team=self.rig.team_id, **parameters)

    @staticmethod
    def refusable(act):
        try:
            act()
        except AgoraError as refused:
            if refused.slug not in {"illegal-transition", "conflict", "invalid"}:
                raise

    @invariant()
    def every_move_is_in_the_tables(self):
        for row in self.rows("jobs", "id, status, event_seq, output, error, cancel_requested_at"):
            assert row["cancel_requested_at"] is None or row["status"] != "succeeded"
            before = self.job_states.get(row["id"])
            self.moved(JOB_TRANSITIONS, JobState, before, row)
            self.job_states[row["id"]] = JobState(row["status"])
            if row["status"] in JOB_ENDED:
                assert self.ended.setdefault(row["id"], dict(row)) == dict(row)
        for row in self.rows("steps", "id, status"):
            self.moved(STEP_TRANSITIONS, StepState, self.step_states.get(row["id"]), row)
            self.step_states[row["id"]] = StepState(row["status"])

    def moved(self, table, states, before, row):
        if before is not None:
            assert states(row["status"]) in reachable(table, before), (row["id"], before, row["status"])

    @invariant()
    def an_ended_job_has_no_open_step_and_an_open_one_has(self):
        found = self.rig.sql(
            "SELECT j.id, j.status, count(s.id) FILTER (WHERE s.status IN ('ready', 'running', 'suspended')) AS open "
            "FROM jobs j JOIN steps s ON s.job_id = j.id WHERE j.team_id = :team GROUP BY j.id",
            team=self.rig.team_id,
        )
        for row in found:
            assert (row["open"] > 0) == (row["status"] not in JOB_ENDED), dict(row)

    @invariant()
    def events_are_numbered_without_a_gap(self):
        for job in self.jobs:
            self.rig.events(job)

    def rows(self, table, columns):
        return self.rig.sql(f"SELECT {columns} FROM {table} WHERE team_id = :team", team=self.rig.team_id)

    def teardown(self):
        """Whatever happened, time, workers and answers bring every job to its end."""
        for _ in range(40):
            self.time_passes()
            self.the_dispatcher_ticks()
            self.rig.run()
            for job in self.jobs:
                self.refusable(lambda job=job: approval.approve_job(job.id, team_id=self.rig.team_id))
            if not self.jobs or {self.rig.job(job).status for job in self.jobs} <= set(JOB_ENDED):
                break
        else:
            pytest.fail(f"still open: {[self.rig.job(job) for job in self.jobs]}")
        self.every_move_is_in_the_tables()
        self.the_dispatcher_ticks()
        assert not self.rig.sql("SELECT id FROM batches WHERE ended_at IS NULL AND team_id = :t", t=self.rig.team_id)


def test_a_random_walk_keeps_to_the_tables(db, monkeypatch):
    Walk.rig = Rig(monkeypatch, agent_with(walk=[begin, (behave, {"retry": AT_ONCE}), (finish, {"queue": "io"})]))
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=15, stateful_step_count=20, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
