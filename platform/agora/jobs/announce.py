"""What the world is told after a commit: rings for workers, wake-ups for readers. Never before it."""

from dataclasses import dataclass, field

from agora import broker
from agora.agents import StepSpec
from agora.events import stream
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
    deliveries: bool = False
    claimed: "Claimed | None" = None

    def ring_step(self, step_id: str, *, job_id: str, spec: StepSpec, label: str) -> None:
        """Note that a step is due."""
        self.rings.append(
            broker.Ring(step_id=step_id, job_id=job_id, queue=spec.queue, label=label, timeout=spec.timeout)
        )

    def add(self, other: "Announcement") -> None:
        """Make another announcement together with this one."""
        self.rings += other.rings
        self.jobs |= other.jobs
        self.queues |= other.queues
        self.deliveries |= other.deliveries

    def make(self) -> None:
        """Tell. Best effort: the dispatcher and the readers' polls make up for what is lost here."""
        broker.ring(self.rings)
        for queue in self.queues:
            try_refill(queue)
        if self.deliveries:
            broker.ring_deliveries()
        if self.jobs:
            stream.publish(self.jobs)
