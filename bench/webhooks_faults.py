"""Webhook deliveries while everything around them is broken: what is lost, and what comes twice.

``kill -9`` of the webhooks worker in the middle of its sends and of the dispatcher, an emptied Valkey, a restarted
Postgres, while events are published all the time. Before a worker is killed it is stopped, so that it is known exactly
how many deliveries it was sending: no more may come twice.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from agora import valkey
from bench.webhooks_load import Arrived, Publisher, Team, compare
from bench.webhooks_receiver import Receivers
from bench.webhooks_stage import DISPATCHER, SENDER, Stage

APART = 4.0
"""Seconds between two faults."""
SETTLE_SECONDS = 120.0
"""A lease lasts for half a minute; after the last fault it must run out, and what it held be sent."""
LEASED = "SELECT count(*) FROM webhook_deliveries WHERE status = 'leased'"
LOOKS = 500
"""How often it is looked for a moment at which the worker sends something, before it is killed."""
OTHERWISE = "SELECT count(*) FROM webhook_deliveries WHERE status NOT IN ('succeeded', 'cancelled')"


@dataclass(slots=True)
class Broken:
    """What came of it. ``sending`` is how many deliveries were under way at each kill of the worker."""

    faults: list[str] = field(default_factory=list)
    sending: list[int] = field(default_factory=list)
    deliveries: int = 0
    unpublished: int = 0
    arrived: Arrived = field(default_factory=lambda: Arrived([], 0, 0, 0))
    seconds: float = 0.0

    @property
    def amiss(self) -> str:
        """What must not be; empty when all came, and no more twice than were being sent at the kills."""
        found = []
        if self.arrived.missing:
            found.append(f"{self.arrived.missing} lost")
        if self.arrived.extra > sum(self.sending):
            found.append(f"{self.arrived.extra} came again, and {sum(self.sending)} were being sent at the kills")
        return ", ".join(found)


class BoldPublisher(Publisher):
    """Publishes on while Postgres is away; what was not committed does not count."""

    unpublished = 0

    def publish(self, team: Team, *, meant: float | None = None, count: int = 1) -> int:
        """As in Publisher; 0 when the database did not answer."""
        try:
            return super().publish(team, meant=meant, count=count)
        except SQLAlchemyError:
            self.unpublished += count
            return 0


def break_everything(
    stage: Stage, receivers: Receivers, teams: Sequence[Team], *, rate: float, rounds: int
) -> Broken:  # fmt: skip
    """Publish ``rate`` deliveries a second, break one thing after another, and see what arrived in the end."""
    found, publisher = Broken(), BoldPublisher(receivers)
    faults: list[tuple[str, Callable[[], object]]] = [
        ("worker killed", lambda: found.sending.append(kill_sender(stage))),
        ("Valkey emptied", lambda: empty(stage)),
        ("dispatcher killed", lambda: stage.process(DISPATCHER).kill()),
        ("worker killed", lambda: found.sending.append(kill_sender(stage))),
        ("Postgres restarted", stage.restart_postgres),
    ]
    begun, seconds = time.monotonic(), APART * (rounds * len(faults) + 1)
    options = {"events_a_second": rate / len(teams[0].numbers), "seconds": seconds}
    flow = threading.Thread(target=publisher.keep_pace, args=(teams,), kwargs=options)
    flow.start()
    for name, fault in faults * rounds:
        time.sleep(APART)
        fault()
        found.faults.append(name)
    flow.join()
    stage.wait_until(lambda: stage.sql(OTHERWISE)[0][0] == 0, "everything is settled", SETTLE_SECONDS)
    found.deliveries, found.unpublished = publisher.deliveries, publisher.unpublished
    found.arrived, found.seconds = compare(publisher.meant, *receivers.take()), time.monotonic() - begun
    return found


def kill_sender(stage: Stage) -> int:
    """Kill the worker in the middle of what it does; returns how many deliveries it was sending."""
    sender = stage.process(SENDER)
    for _ in range(LOOKS):
        sender.suspend()
        sending = int(stage.sql(LEASED)[0][0])
        if sending:
            break
        sender.resume()
        time.sleep(0.003)
    sender.kill()
    return sending


def empty(stage: Stage) -> None:
    """FLUSHALL."""
    with suppress(OSError), valkey.client(stage.platform.env["REDIS_URL"]) as client:
        client.flushall()


def section_of(found: Broken) -> str:
    """What RESULTS.md says of it."""
    counted = {name: found.faults.count(name) for name in dict.fromkeys(found.faults)}
    return (
        f"Broken on purpose: {found.deliveries:,} deliveries published over {found.seconds:.0f} s of "
        + ", ".join(f"{name} ({count} times)" for name, count in counted.items())
        + f". Lost: {found.arrived.missing}. Came again, under the same id: {found.arrived.extra}, and "
        f"{sum(found.sending)} were being sent when their worker was killed (target: no more than these).\n\n"
    )
