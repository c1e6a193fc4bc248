"""The judge: a pure function from the evidence of a run to what is wrong with it. An engine that holds has none."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from agora.jobs.states import JOB_ENDED, JOB_TRANSITIONS, STEP_TRANSITIONS
from tests.chaos import ledger

LONELY = "worker-lost"
"""Any job may end so when it lost as many workers as the limit says; the judge then counts that it did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that must not be. ``kind`` is one of the words below."""

    kind: str
    what: str


def judge(seen, *, lost_limit):
    """Everything that is wrong, one finding each."""
    return [
        Finding(kind=kind, what=what)
        for kind, look in LOOKS.items()
        for what in (look(seen, lost_limit) if kind == "wrong end" else look(seen))
    ]


def lost(seen):
    """Accepted, and not there."""
    known = {job.id for job in seen.jobs}
    return [f"{name} was accepted as {job_id}" for name, job_id in seen.accepted.items() if job_id not in known]


def stuck(seen):
    """There, and not ended."""
    return [f"{job.name} {job.id} is {job.status}" for job in seen.jobs if job.status not in JOB_ENDED]


def made_twice(seen):
    """One idempotency key, several jobs."""
    return [f"{name}: {count} jobs" for name, count in Counter(job.name for job in seen.jobs).items() if count > 1]


def wrong_end(seen, lost_limit):
    """Ended as its plan does not say."""
    losses = Counter(move.id for move in seen.moves if move.kind == "step" and is_loss(move))
    unlucky = {step.job_id for step in seen.steps if losses[step.id] >= lost_limit}
    for job in seen.jobs:
        plan = seen.plans.get(job.name)
        if plan is None or job.status not in JOB_ENDED or (job.error == LONELY and job.id in unlucky):
            continue
        wanted = ("failed", plan.error) if plan.error else ("succeeded", None)
        if (job.status, job.error) != wanted or job.total != plan.total:
            yield f"{job.name} {job.id} {job.action}: {job.status} {job.error} {job.total}, not {wanted} {plan.total}"


def is_loss(move):
    """Whether a step left its worker without an end of its own."""
    return move.was == "running" and move.became in {"ready", "failed"}


def illegal_moves(seen):
    """Moves that the tables of states do not have. Leaving a terminal state is one."""
    tables = {"job": JOB_TRANSITIONS, "step": STEP_TRANSITIONS}
    for move in seen.moves:
        if move.was is not None and move.became not in tables[move.kind][move.was]:
            yield f"{move.kind} {move.id}: {move.was} -> {move.became}"


def effects(seen):
    """Each recorded transactional step has its effect once, and no other has one."""
    jobs = {job.id: job for job in seen.jobs}
    recorded = {
        f"{step.job_id}:{step.name}:0:0" for step in seen.steps if step.name == "effect" and step.status == "succeeded"
    }
    for key in sorted(recorded | set(seen.effects)):
        count, wanted = seen.effects[key], int(key in recorded)
        if count != wanted:
            yield f"{key} ({jobs[key.split(':')[0]].name}): {count} times, not {wanted}"


def events(seen):
    """A job's events count from 1 without gaps; each recorded step and the job's end are told once."""
    by_job = defaultdict(list)
    for event in seen.events:
        by_job[event.job_id].append(event)
    recorded = {(step.job_id, step.name) for step in seen.steps if step.status == "succeeded" and not step.item}
    for job in seen.jobs:
        told = by_job[job.id]
        if [event.seq for event in told] != list(range(1, job.event_seq + 1)):
            yield f"{job.id}: events {[event.seq for event in told]}, and its counter says {job.event_seq}"
        ends = [event.type for event in told if event.type.removeprefix("job.") in JOB_ENDED]
        if job.status in JOB_ENDED and ends != [f"job.{job.status}"]:
            yield f"{job.id} is {job.status}, and its events say {ends}"
        for step, count in Counter(event.step for event in told if event.type == "step.succeeded").items():
            if count != 1 or (job.id, step) not in recorded:
                yield f"{job.id}: {count} step.succeeded of {step}"


def ran_after_record(seen):
    """A step that was claimed anew after it was recorded."""
    spread = {(step.job_id, step.name) for step in seen.steps if step.item}
    recorded = {
        f"{step.job_id}:{step.name}:0:{max(0, step.item - 1)}": step.attempt
        for step in seen.steps
        if step.status == "succeeded" and (step.item or (step.job_id, step.name) not in spread)
    }
    for line in seen.ledger:
        if line.what == ledger.BEGINS and line.attempt > recorded.get(line.key, line.attempt):
            yield f"{line.key} was recorded by try {recorded[line.key]}, and try {line.attempt} ran"


def paid_twice(seen):
    """A paid call that a later try made again although its value was noted."""
    noted = {}
    for line in seen.ledger:
        if line.what == ledger.NOTED:
            noted.setdefault(line.key, line.attempt)
        elif line.what == ledger.CALLED and line.attempt > noted.get(line.key, line.attempt):
            yield f"{line.key}: noted by try {noted[line.key]}, paid again by try {line.attempt}"


def hooks(seen):
    """Each end of a job of the team that listens arrives, signed, under one id however often; and nobody else's."""
    ids = defaultdict(set)
    for hook in seen.hooks:
        if hook.forged:
            yield f"{hook.id}: {hook.forged}"
        ids[hook.job_id].add((hook.id, hook.type))
    for job in seen.jobs:
        came = ids[job.id]
        if job.status not in JOB_ENDED or job.name not in seen.plans:
            continue
        if not seen.plans[job.name].loud:
            if came:
                yield f"{job.id} of the team without endpoints: {sorted(came)}"
        elif [kind for _, kind in came] != [f"job.{job.status}"]:
            yield f"{job.name} {job.id} is {job.status}, and the receiver got {sorted(came)}"


def availability(seen):
    """The API answers throughout, except while Postgres is away or all of web was killed."""
    excuses = [(one.began, one.excused_until) for one in seen.log if one.excuses]
    for sample in seen.samples:
        excused = any(began <= sample.at + sample.seconds and sample.at <= until for began, until in excuses)
        if sample.failed and not excused:
            yield f"{sample.kind} at {sample.at:.1f} after {sample.seconds:.1f} s: {sample.failed}"


LOOKS = {
    "lost": lost,
    "stuck": stuck,
    "made twice": made_twice,
    "wrong end": wrong_end,
    "illegal move": illegal_moves,
    "effect": effects,
    "event": events,
    "ran after record": ran_after_record,
    "paid twice": paid_twice,
    "webhook": hooks,
    "API away": availability,
}
"""The kinds of findings."""
