"""One run: a platform, a stream of jobs, faults from a seed, and the judge's word at the end."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis
from kombu.exceptions import KombuError

from agora.errors import AgoraError
from agora.settings import get_settings
from tests.chaos import evidence, ledger
from tests.chaos.faults import FAULTS, CannotRun, Fault
from tests.chaos.judge import judge
from tests.chaos.load import Load
from tests.chaos.scale import Scale
from tests.chaos.stage import Stage

PATIENCE = 30.0
"""How long a fault waits for something to hurt: its process may be starting, Postgres may be away."""
SAY_SECONDS = 10.0
HEAD_SECONDS = 2.0
"""The stream runs so long before the first fault."""
NOT_NOW = (psutil.Error, psycopg.Error, redis.RedisError, KombuError, OSError, IndexError, AgoraError)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run. Of the faults, as many as there are kinds come alone when ``alone`` is set, the rest mixed."""

    seed: int
    jobs: int
    faults: int
    scale: Scale
    only: tuple[str, ...] = ()
    alone: bool = False
    rabbitmq: bool = False
    without: str = ""


@dataclass(kw_only=True)
class Entry:
    """A fault as it happened; times are Unix times. ``not_run`` is why it did not happen, if so.

    It looks for something to hurt from ``began`` on, which may take seconds; ``struck`` is when it has hurt it.
    """

    fault: Fault
    target: str
    alone: bool
    began: float = 0.0
    struck: float = 0.0
    ended: float = float("inf")
    excused_until: float = float("inf")
    note: str = ""
    not_run: str = ""

    @property
    def excuses(self):
        """Whether the API may be away because of it."""
        return self.fault.excuses and self.began > 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a run. ``seconds`` is the whole of it."""

    options: Options
    seen: evidence.Evidence
    findings: list
    seconds: float
    settled: float
    """How long after the last fault and submit the last job ended and its webhook arrived."""


class Tormentor:
    """Injects faults into a stage, in the order of a seed."""

    def __init__(self, stage, options, say):
        self._stage, self._options, self._say = stage, options, say
        self._rng = random.Random(options.seed)
        self._busy = set()
        self._lock = threading.Lock()
        self._threads = []
        self.log = []

    def plan(self):
        """The names of the faults: those that come alone, and those that are mixed."""
        names = list(self._options.only or FAULTS)
        alone = self._alone(names)[: self._options.faults] if self._options.alone else []
        mixed = []
        while len(alone) + len(mixed) < self._options.faults:
            self._rng.shuffle(names)
            mixed += names[: self._options.faults - len(alone) - len(mixed)]
        return alone, mixed

    def _alone(self, names):
        """Every fault once; those that kill a worker as often as the scale says."""
        return [name for name in names for _ in range(self._options.scale.repeats if FAULTS[name].kills else 1)]

    def _pause(self, name):
        """Seconds after a fault that came alone."""
        scale = self._options.scale
        return scale.quiet if FAULTS[name].kills else scale.gap

    def span(self):
        """About how many seconds it takes."""
        scale, (alone, mixed) = self._options.scale, self.plan()
        self._rng.seed(self._options.seed)
        return sum(FAULTS[name].seconds(scale) + self._pause(name) + 1 for name in alone) + len(mixed) * scale.spacing

    def run(self):
        """Inject them all; returns when the last one is undone."""
        scale, (alone, mixed) = self._options.scale, self.plan()
        for name in alone:
            self._begin(name, alone=True).join()
            time.sleep(self._pause(name))
        started, waiting = time.monotonic(), list(mixed)
        for number in range(len(mixed)):
            time.sleep(max(0.0, started + number * scale.spacing - time.monotonic()))
            self._begin(self._next(waiting), alone=False)
        for thread in self._threads:
            thread.join()

    def _next(self, waiting):
        """The first fault of those that wait for which there is something to hurt."""
        deadline = time.monotonic() + 4 * self._options.scale.zombie
        while time.monotonic() < deadline:
            for name in waiting:
                if set(FAULTS[name].targets) - self._busy:
                    waiting.remove(name)
                    return name
            time.sleep(0.2)
        raise AssertionError(f"every target is still hurt: {sorted(self._busy)}")

    def _begin(self, name, *, alone):
        fault = FAULTS[name]
        with self._lock:
            target = self._rng.choice(sorted(set(fault.targets) - self._busy))
            self._busy.add(target)
            rng = random.Random(self._rng.random())
        entry = Entry(fault=fault, target=target, alone=alone)
        self.log.append(entry)
        thread = threading.Thread(target=self._hurt, args=(entry, rng), name=f"chaos-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _hurt(self, entry, rng):
        try:
            self._try(entry, rng)
        except Exception as error:  # noqa: BLE001  # a fault of the harness itself must not pass for one that was injected
            entry.not_run = f"the fault failed: {error!r}"
        finally:
            entry.ended = time.time()
            entry.excused_until = entry.ended + self._options.scale.grace
            with self._lock:
                self._busy.discard(entry.target)
            self._say(f"  {entry.fault.name} {entry.target}: {entry.not_run or entry.note}")

    def _try(self, entry, rng):
        deadline = time.monotonic() + PATIENCE
        while True:
            entry.began = time.time()
            try:
                with entry.fault.act(self._stage, entry.target, rng) as entry.note:
                    entry.struck = time.time()
                    time.sleep(entry.fault.seconds(self._options.scale))
            except CannotRun as error:
                entry.not_run = str(error)
            except NOT_NOW as error:
                if time.monotonic() < deadline and not entry.note:
                    time.sleep(0.5)
                    continue
                entry.not_run = f"{type(error).__name__}: {error}"
            return


class Progress:
    """Prints a line now and then."""

    def __init__(self, stage, load, tormentor, say):
        self._parts = stage, load, tormentor, say
        self._started, self._done = time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        stage, load, tormentor, say = self._parts
        while not self._done.wait(SAY_SECONDS):
            seconds = time.monotonic() - self._started
            failed = Counter(bool(sample.failed) for sample in load.samples)[True]
            say(
                f"{seconds:6.0f} s: {len(load.accepted)} accepted, {stage.hooks.count()} webhooks, "
                f"{len(tormentor.log)} faults, {failed} of {len(load.samples)} calls failed"
            )

    def close(self):
        """End."""
        self._done.set()
        self._thread.join(5)


def run(options, directory, *, say):
    """Run it. Everything is in ``directory``, which must be new; returns the result."""
    started = time.monotonic()
    say(f"chaos: seed {options.seed}, {options.jobs} jobs, {options.faults} faults")
    with Stage(
        Path(directory), options.scale, without=options.without, rabbitmq=options.rabbitmq
    ) as stage:  # fmt: skip
        tormentor = Tormentor(stage, options, say)
        load = Load(stage, seed=options.seed, jobs=options.jobs, span=tormentor.span() + HEAD_SECONDS)
        stage.load = load
        say(f"chaos: the platform runs after {time.monotonic() - started:.1f} s")
        progress = Progress(stage, load, tormentor, say)
        try:
            load.start()
            time.sleep(HEAD_SECONDS)
            tormentor.run()
            load.finish(options.scale.settle)
            settled = wait_for_the_end(stage, options.scale.settle)
        finally:
            progress.close()
            load.close()
        seen = evidence.Evidence(
            accepted=load.accepted, plans=load.plans, samples=load.samples, log=tormentor.log,
            ledger=ledger.read(directory), hooks=stage.hooks.read(), **evidence.gather(stage.database_url),
        )  # fmt: skip
    say(f"chaos: judging after {time.monotonic() - started:.1f} s; settled within {settled:.1f} s")
    findings = judge(seen, lost_limit=get_settings().lost_lease_limit)
    for finding in findings[:50]:
        say(f"FINDING {finding.kind}: {finding.what}")
    result = Result(
        options=options, seen=seen, findings=findings, seconds=time.monotonic() - started, settled=settled
    )  # fmt: skip
    say(f"chaos: seed {options.seed}, {len(findings)} findings in {result.seconds:.0f} s")
    return result


def wait_for_the_end(stage, patience):
    """Wait until no job is open and no delivery waits; returns the seconds. After ``patience`` the judge will see."""
    started = time.monotonic()
    while time.monotonic() - started < patience:
        try:
            if stage.sql(evidence.OPEN) == [(0, 0)]:
                break
        except psycopg.OperationalError:
            pass
        time.sleep(0.25)
    return time.monotonic() - started
