"""What the world is told after a commit: rings for workers, wake-ups for readers. Never before it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agora import broker
from agora.agents import StepSpec
from agora.events import stream
from agora.jobs import gate
from agora.jobs.decide import NextStep
from agora.jobs.rings import try_refill


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """The next step, which a record claimed for the same worker: nobody is rung for it."""

    step_id: str
    fence: str
    following: NextStep


@dataclass(slots=True)
class Announcement:
    """Collected inside a transaction, made after it."""

    rings: list[broker.Ring] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    queues: set[str] = field(default_factory=set)
    """Queues with new due steps for which nobody was rung yet."""
    ended: set[str] = field(default_factory=set)
    """Jobs under limits that have ended: others may have waited for that."""
    lines: set[str] = field(default_factory=set)
    """Scopes of limits in whose lines somebody stands now."""
    deliveries: bool = False
    claimed: "Claimed | None" = None

    def ring_step(self, step_id: str, *, job_id: str, spec: StepSpec, label: str) -> None:
        """Note that a step is due."""
        self.rings.append(
            broker.Ring(step_id=step_id, job_id=job_id, queue=spec.queue, label=label, timeout=spec.timeout)
        )

    def hold(self, lines: Mapping[str, set[str]]) -> None:
        """These jobs stand in lines now: nobody is rung for them, and their lines are looked at."""
        self.rings = [ring for ring in self.rings if ring.job_id not in lines]
        self.lines.update(*lines.values())

    def add(self, other: "Announcement") -> None:
        """Make another announcement together with this one."""
        self.rings += other.rings
        self.jobs |= other.jobs
        self.queues |= other.queues
        self.ended |= other.ended
        self.lines |= other.lines
        self.deliveries |= other.deliveries

    def make(self) -> None:
        """Tell. Best effort: the dispatcher and the readers' polls make up for what is lost here."""
        broker.ring(self.rings)
        if self.ended or self.lines:
            self.queues |= gate.after_commit(ended=self.ended, lines=self.lines)
        for queue in self.queues:
            try_refill(queue)
        if self.deliveries:
            broker.ring_deliveries()
        if self.jobs:
            stream.publish(self.jobs)
