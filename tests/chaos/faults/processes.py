"""Faults of processes: they are killed, they freeze and come back, there are two of them."""

import signal
from contextlib import suppress

import psutil

from tests.chaos.faults.registry import fault
from tests.chaos.stage import CPU_WORKERS, SECOND, WORKERS, family


def send(processes, number):
    """Send a signal to processes; those that have ended need none."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def pids_of(processes):
    """Their process ids, for a note."""
    return ", ".join(str(process.pid) for process in processes)


def kill(stage, name):
    """Kill the main process of a service; returns a note."""
    process = stage.process(name)
    process.kill()
    return f"pid {process.pid}"


@fault(*WORKERS, kills=True)
def worker_killed(stage, target, rng):
    """kill -9 of a worker's parent, with steps in hand; its watchdog ends the children, as a service manager does."""
    if target in CPU_WORKERS:
        stage.child(target, rng)  # waits for one that is in the middle of a step
    yield kill(stage, target)


@fault(*CPU_WORKERS, kills=True)
def worker_child_killed(stage, target, rng):
    """kill -9 of one process of a worker's pool, as the kernel's out-of-memory killer does."""
    parent, child = stage.process(target), stage.child(target, rng)
    child.kill()
    yield f"pid {parent.pid} child {child.pid}"


@fault("dispatcher")
def dispatcher_killed(stage, target, _rng):
    """kill -9 of the dispatcher."""
    yield kill(stage, target)


@fault("webhooks")
def webhooks_killed(stage, target, _rng):
    """kill -9 of the webhooks worker, with deliveries under way."""
    yield kill(stage, target)


@fault("web", excuses=True)
def web_killed(stage, target, _rng):
    """kill -9 of gunicorn's master: the API is away until its supervisor has started it anew."""
    yield kill(stage, target)


@fault("web")
def web_process_killed(stage, target, rng):
    """kill -9 of one of gunicorn's processes: callers must not see it, apart from requests that it was at."""
    child = rng.choice(stage.process(target).children())
    child.kill()
    yield f"pid {child.pid}"


def frozen(processes):
    """Stop processes for the length of the block."""
    send(processes, signal.SIGSTOP)
    try:
        yield f"pids {pids_of(processes)}"
    finally:
        send(processes, signal.SIGCONT)


@fault(*WORKERS, lasts="zombie")
def worker_frozen(stage, target, _rng):
    """A whole worker stops, and comes back after others took its steps."""
    yield from frozen(family(stage.process(target)))


@fault(*CPU_WORKERS, lasts="zombie")
def worker_child_frozen(stage, target, rng):
    """One process of a pool stops, and comes back as a zombie that believes in its lease."""
    yield from frozen([stage.child(target, rng)])


@fault("dispatcher", lasts="outage")
def dispatcher_frozen(stage, target, _rng):
    """The dispatcher stops in the middle of whatever it was doing."""
    yield from frozen([stage.process(target)])


@fault(SECOND, lasts="outage")
def two_dispatchers(stage, target, _rng):
    """A second dispatcher does the same duties at the same time."""
    stage.start(target)
    try:
        yield ""
    finally:
        stage.stop(target)
