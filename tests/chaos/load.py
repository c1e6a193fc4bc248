"""The stream of jobs, and what the API said: each submit tells whether it is there, and so does a read each 100 ms."""

import random
import threading
import time
from dataclasses import dataclass, replace

from agora.client import Agora, ApiError, Unreachable
from agora.client.errors import Busy
from tests.chaos.agents import POISON, TOTAL, child_names

SUBMITTERS = 4
READ_SECONDS = 0.1
ANSWER_SECONDS = 10.0
"""An answer that takes longer is none."""
PAUSE = 0.2
FANS, FAMILIES = 0.05, 0.03
"""The shares of the jobs that spread over items, or over child jobs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A job and what it must come to: ``error`` is its error's code, None for success."""

    name: str
    agent: str
    action: str
    input: dict
    loud: bool
    error: str | None = None
    total: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One call of the API: Unix time of its start, seconds that it took, and why it failed ("" when it did not)."""

    kind: str
    at: float
    seconds: float
    failed: str


def plan_of(seed, number, scale):
    """The job of that number in the stream of a seed."""
    rng = random.Random(f"{seed}/{number}")
    name, slow = f"job-{number}", rng.random() < scale.slow
    work = {
        "name": name,
        "seconds": round(rng.uniform(0.3, 2.0), 2) if slow else 0.0,
        "tail": round(rng.uniform(0.0, scale.zombie), 2) if slow and rng.random() < scale.tails else 0.0,
        "deaf": rng.random() < scale.deaf,
        "naps": rng.random() < 0.05,
        "trips": int(rng.random() < 0.1),
        "bulk": 100_000 if rng.random() < 0.02 else 0,
    }
    loud, kind, wide = rng.random() < 0.5, rng.random(), rng.randint(2, 6)
    if kind < FANS:
        return Plan(name=name, agent="chaos", action="fan", input={"name": name, "wide": wide}, loud=loud, total=wide)
    if kind < FANS + FAMILIES:
        given = {"name": name, "wide": wide}
        return Plan(name=name, agent="chaos", action="family", input=given, loud=loud, total=wide * TOTAL)
    return Plan(name=name, agent="chaos", action="chain", input=work, loud=loud, total=TOTAL)


class OneTry(Agora):
    """A client that tells of each failure instead of trying again, but for a kept connection that was closed."""

    def _request(self, method, path, body, headers, timeout):
        try:
            return self._once(method, path, body, headers, timeout)
        except Unreachable:
            return self._once(method, path, body, headers, timeout)


class Load:
    """Submits ``jobs`` jobs at an even pace over ``span`` seconds, each until it is accepted."""

    def __init__(self, stage, *, seed, jobs, span):
        self._seed, self._jobs, self._span = seed, jobs, span
        self._scale = stage.scale
        self._clients = [
            OneTry(stage.platform.url, key, timeout=ANSWER_SECONDS) for key in (stage.quiet_key, stage.loud_key)
        ]
        self.accepted, self.plans, self.samples = {}, {}, []
        self._lock = threading.Lock()
        self._next, self._poisons = 0, 0
        self._started = 0.0
        self._given_up = threading.Event()
        self._submitters = [threading.Thread(target=self._submit_all, daemon=True) for _ in range(SUBMITTERS)]
        self._reader = threading.Thread(target=self._read_all, daemon=True)

    def start(self):
        """Begin."""
        self._started = time.monotonic()
        for thread in (*self._submitters, self._reader):
            thread.start()

    def finish(self, patience):
        """Wait for the end of the stream. Raises AssertionError when jobs could not be submitted in time."""
        deadline = time.monotonic() + patience
        for thread in self._submitters:
            thread.join(max(0.0, deadline - time.monotonic()))
        stuck = any(thread.is_alive() for thread in self._submitters)
        self.close()
        if stuck:
            raise AssertionError(f"the stream did not get through within {patience} s: {self.samples[-1]}")

    def close(self):
        """Stop the threads."""
        self._given_up.set()
        for thread in (*self._submitters, self._reader):
            if thread.ident is not None:
                thread.join(2 * ANSWER_SECONDS + 5)
        for client in self._clients:
            client.close()

    def poison(self, action):
        """Submit a job whose step hurts its process."""
        with self._lock:
            self._poisons += 1
            name = f"poison-{self._poisons}"
        code = next(code for function, code in POISON.items() if function.__name__ == action)
        self.submit(Plan(name=name, agent="poison", action=action, input={"name": name}, loud=True, error=code))

    def _submit_all(self):
        while not self._given_up.is_set():
            with self._lock:
                number = self._next
                self._next += 1
            if number >= self._jobs:
                return
            due = self._started + number * self._span / self._jobs
            self._given_up.wait(max(0.0, due - time.monotonic()))
            self.submit(plan_of(self._seed, number, self._scale))

    def submit(self, plan):
        """Submit a job until it is accepted."""
        self.plans[plan.name] = plan
        if plan.action == "family":
            for name in child_names(plan.name, plan.input["wide"]):
                self.plans[name] = replace(plan, name=name, action="chain", total=TOTAL)
        client, key = self._clients[plan.loud], f"{self._seed}-{plan.name}"
        while not self._given_up.is_set():
            job = self._sample(
                "submit", lambda: client.submit(plan.agent, plan.action, plan.input, idempotency_key=key)
            )
            if job is not None:
                self.accepted[plan.name] = job["id"]
                return
            self._given_up.wait(PAUSE)

    def _read_all(self):
        while not self._given_up.wait(READ_SECONDS):
            self._sample("read", lambda: self._clients[0].list_jobs(limit=1))

    def _sample(self, kind, call):
        at, clock, failed, answer = time.time(), time.monotonic(), "", None
        try:
            answer = call()
        except (ApiError, Busy, Unreachable) as error:
            failed = f"{type(error).__name__}: {error}"[:200]
        self.samples.append(Sample(kind=kind, at=at, seconds=time.monotonic() - clock, failed=failed))
        return answer
