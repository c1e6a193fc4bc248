"""The cases of the webhooks' figures. Each takes the stage and gives back what it measured."""

import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agora.broker import ring_deliveries
from bench.webhooks_faults import Broken, break_everything
from bench.webhooks_load import Arrived, Publisher, Team, compare, delete_teams, make_teams
from bench.webhooks_receiver import Receivers
from bench.webhooks_stage import SENDER, Costs, Stage

HEALTHY, LONE, BIG, OTHERS = range(100), [100], [101], range(200, 1_150)
RECEIVERS = 1_150
PER_TEAM, PER_BIG_TEAM = 5, 50
PATIENCE = 60.0
WARM = 1_000
GROUP = 10
"""Events of one transaction, and of one ring, when it is throughput that counts: as a worker's burst does."""
PAUSES = (0.11, 0.37, 0.23, 0.53, 0.17)
"""Seconds between single events: out of step with whatever the engine does now and then."""

BACKLOG = """
INSERT INTO webhook_deliveries (id, team_id, endpoint_id, event_id, event_type, body, status, next_attempt_at)
SELECT agora_new_id('whd'), %(team)s, %(endpoint)s, agora_new_id('evt'), 'job.succeeded', %(body)s, 'pending', now()
FROM generate_series(1, %(count)s)
"""
DUE = "UPDATE webhook_endpoints SET next_due_at = now() WHERE id = %(endpoint)s"
COUNTS = """
SELECT (SELECT count(*) FROM webhook_deliveries WHERE status = 'succeeded'),
       (SELECT count(*) FROM webhook_attempts WHERE delivered)
"""
FORGET = "TRUNCATE webhook_deliveries"
BODY = '{"type":"job.succeeded","timestamp":"2026-01-01T00:00:00.000Z","data":{"job_id":"job_0","status":"succeeded"}}'


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of each case."""

    deliveries: int = 20_000
    window: int = 1_000
    seconds: float = 20.0
    singles: int = 60
    hang_seconds: float = 30.0
    backlog: int = 500_000
    fault_rounds: int = 2
    memory: tuple[int, int] = (5_000, 50_000)


SMALL = Sizes(
    deliveries=2_000, seconds=4.0, singles=10, hang_seconds=6.0, backlog=20_000, fault_rounds=1, memory=(1_000, 3_000)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sustained:
    """Deliveries a second from the first publish to the last settled row, and what they cost."""

    rate: float
    deliveries: int
    costs: Costs
    arrived: Arrived
    load: float


@dataclass(frozen=True, slots=True)
class Beside:
    """How healthy endpoints fared: paced, then with as much as the engine takes; and what arrived of all that."""

    paced: Arrived
    rate: float
    arrived: Arrived


class Cases:
    """All cases, on one stage."""

    def __init__(self, stage: Stage, receivers: Receivers, sizes: Sizes) -> None:
        self._stage, self._receivers, self._sizes = stage, receivers, sizes

    def teams(self, signing_as: str) -> list[Team]:
        """100 healthy endpoints of 20 teams, warm: they have had deliveries, so they are no new endpoints."""
        teams = make_teams(self._receivers, HEALTHY, size=PER_TEAM, signing_as=signing_as)
        self._finish(self._kept_up(teams, WARM), teams)
        return teams

    def _kept_up(self, teams: Sequence[Team], deliveries: int, group: int = GROUP) -> Publisher:
        publisher = Publisher(self._receivers)
        publisher.keep_up(teams, window=self._sizes.window, group=group, deliveries=deliveries)
        return publisher

    def _finish(self, publisher: Publisher, teams: Sequence[Team]) -> Arrived:
        """Wait until everything is settled, and compare."""
        self._stage.wait_until(lambda: self._stage.is_settled(endpoints_of(teams)), "all is settled", PATIENCE)
        return compare(publisher.meant, *self._receivers.take())

    def sustain(self, teams: Sequence[Team], deliveries: int, *, group: int = GROUP) -> Sustained:
        """As many deliveries as the engine takes, published while it sends; every one and its try must be recorded."""
        before = self._stage.sql(COUNTS)[0]
        with self._stage.measured() as costs:
            publisher = self._kept_up(teams, deliveries, group)
            self._stage.wait_until(lambda: self._stage.is_settled(endpoints_of(teams)), "all is settled", PATIENCE)
        made = publisher.deliveries
        recorded = [now - then for now, then in zip(self._stage.sql(COUNTS)[0], before, strict=True)]
        if recorded != [made, made]:
            raise SystemExit(f"of {made} deliveries {recorded[0]} are recorded as succeeded, with {recorded[1]} tries")
        arrived = compare(publisher.meant, *self._receivers.take())
        return Sustained(made / costs.seconds, made, costs, arrived, os.getloadavg()[0])

    def pace(self, teams: Sequence[Team], deliveries_a_second: float) -> Arrived:
        """An open loop at so many deliveries a second."""
        publisher = Publisher(self._receivers)
        events = deliveries_a_second / len(teams[0].numbers)
        publisher.keep_pace(teams, events_a_second=events, seconds=self._sizes.seconds)
        return self._finish(publisher, teams)

    def idle(self, signing_as: str) -> Arrived:
        """One delivery at a time, with nothing else going on."""
        teams = make_teams(self._receivers, LONE, size=1, signing_as=signing_as)
        publisher = Publisher(self._receivers)
        publisher.one_at_a_time(teams[0], count=self._sizes.singles, pauses=PAUSES)
        arrived = self._finish(publisher, teams)
        delete_teams(teams)
        return arrived

    def beside_hanging(self, teams: Sequence[Team], *, hanging: bool, rate: float) -> Beside:
        """50 healthy endpoints beside 950 others, which were healthy too until, when ``hanging``, they all go silent.

        ``rate`` is what the engine sustains. The others get a tenth of it all the while; the healthy ones first four
        tenths, paced, from the very moment at which the others go silent, and then as much as the engine takes.
        """
        healthy, others = teams[: len(teams) // 2], make_teams(self._receivers, OTHERS, size=PER_BIG_TEAM)
        warm = Publisher(self._receivers)
        warm.keep_up(others, window=self._sizes.window, group=1, deliveries=len(OTHERS))
        self._finish(warm, others)
        if hanging:
            self._receivers.hang(OTHERS)
        seconds, aside = self._sizes.hang_seconds, Publisher(self._receivers)
        options = {"events_a_second": rate / 10 / PER_BIG_TEAM, "seconds": 2 * seconds}
        flow = threading.Thread(target=aside.keep_pace, args=(others,), kwargs=options)
        flow.start()
        paced, full = Publisher(self._receivers), Publisher(self._receivers)
        paced.keep_pace(healthy, events_a_second=0.4 * rate / PER_TEAM, seconds=seconds)
        before = self._receivers.count(HEALTHY)
        full.keep_up(healthy, window=self._sizes.window, group=GROUP, seconds=seconds)
        came = self._receivers.count(HEALTHY) - before
        flow.join()
        self._stage.is_settled_within(PATIENCE, endpoints_of(healthy if hanging else [*healthy, *others]))
        arrivals, samples = self._receivers.take()
        within = compare(paced.meant, arrivals, samples)
        self._receivers.hang()
        delete_teams(others)
        self._stage.wait_until(lambda: self._stage.is_settled(endpoints_of(healthy)), "all is settled", PATIENCE)
        arrivals += self._receivers.take()[0]
        meant = paced.meant | full.meant | ({} if hanging else aside.meant)
        return Beside(within, came / seconds, compare(meant, arrivals, samples))

    def beside_backlog(self, teams: Sequence[Team], rate: float) -> tuple[list[Arrived], list[Arrived], float]:
        """100 small endpoints, paced at a tenth of ``rate``: without a backlog of another's, with one twice, without.

        Also what the one with the backlog got a second meanwhile.
        """
        without = [self.pace(teams, rate / 10)]
        big = make_teams(self._receivers, BIG, size=1)
        given = {"team": big[0].id, "endpoint": big[0].endpoints[BIG[0]], "body": BODY, "count": self._sizes.backlog}
        self._stage.sql(BACKLOG, given)
        self._stage.sql(DUE, given)
        self._stage.sql("ANALYZE webhook_deliveries")
        ring_deliveries()
        before = self._receivers.count(BIG)
        self._stage.wait_until(
            lambda: self._receivers.count(BIG) > before + WARM, "the backlog is worked off", PATIENCE
        )
        before, begun = self._receivers.count(BIG), time.monotonic()
        beside = [self.pace(teams, rate / 10), self.pace(teams, rate / 10)]
        got = (self._receivers.count(BIG) - before) / (time.monotonic() - begun)
        if self._stage.is_settled(endpoints_of(big)):
            raise SystemExit("the backlog was gone before the end: it must be bigger")
        self._stage.stop(SENDER)
        self._stage.sql(FORGET)
        delete_teams(big)
        self._start_anew(teams)
        without.append(self.pace(teams, rate / 10))
        return without, beside, got

    def _start_anew(self, teams: Sequence[Team]) -> None:
        self._stage.start(SENDER)
        self._finish(self._kept_up(teams, WARM), teams)

    def break_everything(self, teams: Sequence[Team], rate: float) -> Broken:
        """A quarter of ``rate`` while everything around is broken."""
        return break_everything(self._stage, self._receivers, teams, rate=rate / 4, rounds=self._sizes.fault_rounds)

    def memory(self, teams: Sequence[Team]) -> list[tuple[int, float]]:
        """Deliveries that a fresh worker has sent, and the megabytes that it then held."""
        self._stage.stop(SENDER)
        self._start_anew(teams)
        found, sent = [], WARM
        for goal in self._sizes.memory:
            done = self.sustain(teams, goal - sent)
            if done.arrived.amiss:
                raise SystemExit(f"memory: {done.arrived.amiss}")
            sent += done.deliveries
            found.append((sent, self._stage.rss()))
        return found


def endpoints_of(teams: Iterable[Team]) -> list[str]:
    """The ids of their endpoints."""
    return [endpoint_id for team in teams for endpoint_id in team.endpoints.values()]
