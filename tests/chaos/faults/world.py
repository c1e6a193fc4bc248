"""Faults of what is around: disk, clock, receivers, the order and number of messages, the code of steps."""

import resource
from contextlib import suppress

import psutil

from tests.chaos.agents import POISON
from tests.chaos.faults.registry import CannotRun, fault
from tests.chaos.stage import WORKERS, family

HOUR = 3600.0


def limit_files(processes, most):
    """Let processes write no file beyond so many bytes. Raises PermissionError."""
    for process in processes:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


@fault(*WORKERS, lasts="outage")
def disk_full(stage, target, _rng):
    """A worker can write to no file: RLIMIT_FSIZE of its processes is 0, since a small file system needs root."""
    if not hasattr(resource, "prlimit"):
        raise CannotRun("this system cannot limit another process's files (prlimit is Linux's)")
    processes = family(stage.process(target))
    limit_files(processes, 0)
    try:
        yield f"{len(processes)} processes"
    finally:
        limit_files(processes, resource.RLIM_INFINITY)
        with suppress(psutil.NoSuchProcess):  # a pool may have made new processes meanwhile, which inherit the limit
            limit_files(family(stage.process(target)), resource.RLIM_INFINITY)


@fault(*WORKERS, lasts="outage")
def clock_jumped(stage, target, rng):
    """The wall clock of a worker goes wrong by an hour, and right again."""
    jump = rng.choice([-HOUR, HOUR])
    stage.clock(target, jump)
    try:
        yield f"{jump:+.0f} s"
    finally:
        stage.clock(target, 0.0)


@fault("receiver", lasts="outage")
def slow_receiver(stage, _target, _rng):
    """The receiver of webhooks thinks for seconds before it answers."""
    stage.hooks.delay = stage.scale.receiver_delay
    try:
        yield f"{stage.hooks.delay} s each"
    finally:
        stage.hooks.delay = 0.0


@fault("messages")
def messages_doubled(stage, _target, rng):
    """Rings come several times: for steps that wait, run or have ended."""
    steps = stage.sql("SELECT id, queue FROM steps ORDER BY random() LIMIT 30")
    for _ in range(rng.randint(2, 4)):
        rng.shuffle(steps)
        stage.ring(steps)
    yield f"{len(steps)} steps"


@fault("messages")
def messages_reordered(stage, _target, rng):
    """Part of the messages are held back for a while, and come in another order, some of them twice."""
    held = stage.broker.hold_back(stage.scale.outage)
    again = [message for message in held for _ in range(rng.randint(1, 2))]
    rng.shuffle(again)
    stage.broker.give(again)
    yield f"{len(held)} messages"


@fault("messages")
def messages_lost(stage, _target, _rng):
    """Part of the messages never arrive, as when a broker's replica without the newest ones takes over."""
    yield f"{len(stage.broker.hold_back(stage.scale.outage))} messages"


@fault("poison")
def poison_steps(stage, _target, rng):
    """A few jobs whose steps hurt their process."""
    names = rng.sample([function.__name__ for function in POISON], 4)
    for name in names:
        stage.load.poison(name)
    yield ", ".join(names)
