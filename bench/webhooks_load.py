"""Teams with endpoints, events published to them as the engine publishes them, and what arrived of that."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from agora import broker
from agora.db.session import transaction
from agora.events.types import NewEvent
from agora.ids import new_id
from agora.jobs.chronicle import record_for_team
from agora.webhooks import keys, service, signing
from agora.webhooks.states import Algorithm
from agora.webhooks.types import NewEndpoint
from bench.webhooks_receiver import Arrival, Receivers, Sample

EVENT = "job.succeeded"
PUBLISHERS = 4
POLL = 0.005

SIGNINGS: dict[str, tuple[str, ...]] = {"v1": (), "v1 + v1a": (Algorithm.V1A,)}
"""Ways to sign: the algorithms of the keys that an endpoint gets beside its first, which is one of v1."""


@dataclass(frozen=True, slots=True)
class Team:
    """A team, and its endpoints by the number of their receiver, with what verifies each of their signatures."""

    id: str
    numbers: tuple[int, ...]
    endpoints: dict[int, str]
    verifiers: dict[int, tuple[str, ...]] = field(repr=False)


def make_teams(receivers: Receivers, numbers: Sequence[int], *, size: int, signing_as: str = "v1") -> list[Team]:
    """Teams of ``size`` endpoints each, for the receivers of these numbers."""
    teams = []
    for start in range(0, len(numbers), size):
        team_id, endpoints, verifiers = new_id("team"), {}, {}
        for number in numbers[start : start + size]:
            new = NewEndpoint(url=receivers.url(number), event_types=(EVENT,))
            made = service.create_endpoint(new, team_id=team_id)
            others = [keys.add_key(made.endpoint.id, team_id=team_id, algorithm=one) for one in SIGNINGS[signing_as]]
            endpoints[number] = made.endpoint.id
            verifiers[number] = (made.secret, *(one.key.public_key or one.secret for one in others))
        teams.append(Team(team_id, tuple(endpoints), endpoints, verifiers))
    return teams


def delete_teams(teams: Iterable[Team]) -> None:
    """Delete their endpoints; what these were still to get is cancelled."""
    for team in teams:
        for endpoint_id in team.endpoints.values():
            service.delete_endpoint(endpoint_id, team_id=team.id)


def event() -> NewEvent:
    """An event as the end of a job makes it."""
    job_id = new_id("job")
    data = {
        "job_id": job_id, "agent": "bench", "action": "chain", "version": 1, "status": "succeeded",
        "metadata": {"customer": "cus_0815", "order": 4711}, "links": {"self": f"/api/v1/jobs/{job_id}"},
    }  # fmt: skip
    return NewEvent(type=EVENT, data=data)


class Publisher:
    """Publishes events, and remembers when each was meant to be."""

    def __init__(self, receivers: Receivers) -> None:
        self._receivers = receivers
        self.meant: dict[str, tuple[Team, float]] = {}

    @property
    def deliveries(self) -> int:
        """How many were caused so far."""
        return sum(len(team.numbers) for team, _ in self.meant.values())

    def publish(self, team: Team, *, meant: float | None = None, count: int = 1) -> int:
        """Publish events of a team in one transaction, and ring; returns how many deliveries that makes."""
        events = [event() for _ in range(count)]
        moment = time.monotonic() if meant is None else meant
        with transaction() as session:
            record_for_team(session, *events, team_id=team.id)
        self.meant.update((one.id, (team, moment)) for one in events)
        broker.ring_deliveries()
        return count * len(team.numbers)

    def keep_up(
        self, teams: Sequence[Team], *, window: int, group: int, deliveries: int = 0, seconds: float = 0.0
    ) -> None:
        """Publish ``deliveries``, or for ``seconds``, so that about ``window`` of them are always still to arrive."""
        numbers = [number for team in teams for number in team.numbers]
        published, before, done = 0, self._receivers.count(numbers), list[Future[int]]()
        deadline = time.monotonic() + seconds
        with ThreadPoolExecutor(PUBLISHERS) as pool:
            while published < deliveries or (not deliveries and time.monotonic() < deadline):
                if published - (self._receivers.count(numbers) - before) > window:
                    time.sleep(POLL)
                    continue
                team = teams[len(done) % len(teams)]
                done.append(pool.submit(self.publish, team, count=group))
                published += group * len(team.numbers)
        for one in done:
            one.result()

    def keep_pace(self, teams: Sequence[Team], *, events_a_second: float, seconds: float) -> None:
        """Publish an event at each of its times, whether the one before has arrived or not (an open loop)."""
        begun = time.monotonic()
        with ThreadPoolExecutor(PUBLISHERS) as pool:
            done = list[Future[int]]()
            for turn in range(round(events_a_second * seconds)):
                meant = begun + turn / events_a_second
                time.sleep(max(0.0, meant - time.monotonic()))
                done.append(pool.submit(self.publish, teams[turn % len(teams)], meant=meant))
        for one in done:
            one.result()

    def one_at_a_time(self, team: Team, *, count: int, pauses: Sequence[float]) -> None:
        """Publish one, wait until it has arrived, pause, and so on."""
        for turn in range(count):
            before = self._receivers.count(team.numbers)
            made, deadline = self.publish(team), time.monotonic() + 10
            while self._receivers.count(team.numbers) - before < made and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(pauses[turn % len(pauses)])


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came of published events: seconds from when each was meant to be until its first byte, and what is amiss."""

    latencies: list[float]
    missing: int
    extra: int
    unsigned: int

    def at(self, percent: float) -> float:
        """A percentile of the latencies, in milliseconds."""
        return percentile(self.latencies, percent) * 1000

    @property
    def amiss(self) -> str:
        """What is wrong; empty when each event came to each of its endpoints once, signed."""
        found = {"missing": self.missing, "came again": self.extra, "not signed": self.unsigned}
        return ", ".join(f"{count} {what}" for what, count in found.items() if count)


def percentile(values: Sequence[float], percent: float) -> float:
    """A percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def compare(meant: Mapping[str, tuple[Team, float]], arrivals: Iterable[Arrival], samples: Iterable[Sample]) -> Arrived:
    """Compare what was published with what came. What has not come has taken as long as we have waited."""
    first: dict[tuple[str, int], float] = {}
    times: Counter[tuple[str, int]] = Counter()
    for one in arrivals:
        if one.event_id in meant:
            key = (one.event_id, one.number)
            first[key] = min(one.at, first.get(key, one.at))
            times[key] += 1
    now = time.monotonic()
    wanted = {(event_id, number): at for event_id, (team, at) in meant.items() for number in team.numbers}
    verifiers = {number: own for team, _ in meant.values() for number, own in team.verifiers.items()}
    return Arrived(
        latencies=[first.get(key, now) - at for key, at in wanted.items()],
        missing=len(wanted.keys() - times.keys()), extra=sum(times.values()) - len(wanted.keys() & times.keys()),
        unsigned=sum(not _is_signed(one, verifiers[one.number]) for one in samples if one.number in verifiers),
    )  # fmt: skip


def _is_signed(sample: Sample, verifiers: Iterable[str]) -> bool:
    try:
        for key in verifiers:
            signing.verify(sample.headers, sample.body, key, tolerance=3600)
    except signing.VerificationFailed as error:
        print(f"a signature does not hold: {error}")
        return False
    return True
