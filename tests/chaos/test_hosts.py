"""Two hosts share the work, and one of them is cut off from everything in the middle of it.

Network namespaces where this process may make them, addresses on loopback elsewhere; ``CHAOS_HOSTS=addresses`` takes
the latter anyway.
"""

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import count

import pytest

from agora.settings import get_settings
from tests.acceptance.conftest import until
from tests.chaos import evidence, ledger
from tests.chaos.agents import TOTAL
from tests.chaos.hosts import Address, Namespace, can_have_namespaces
from tests.chaos.judge import judge
from tests.chaos.load import Load, plan_of
from tests.chaos.run import wait_for_the_end
from tests.chaos.scale import SHORT
from tests.chaos.stage import Stage

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

JOBS, SPAN = 50, 8.0
SCALE = replace(SHORT, slow=0.1, tails=0.0, settle=30.0)
LONG_SECONDS = 3.0
"""A step that begins now cannot end before the cable is pulled."""
LINES = {"cpu": "worker", "io": "worker-io"}
FLIGHT_SECONDS = 0.5
"""What was on its way when the cable was pulled has arrived after this."""
AWAY_SECONDS = 4.0
"""Two leases."""

HELD = """
SELECT s.id FROM steps s JOIN chaos_workers w ON w.id = s.worker_id WHERE s.status = 'running' AND w.pid = ANY(%s)
"""
IN_THE_MIDDLE = f"""
SELECT 1 FROM steps s JOIN chaos_workers w ON w.id = s.worker_id JOIN jobs j ON j.id = s.job_id
WHERE s.status = 'running' AND s.name = 'work' AND s.started_at > now() - interval '1 second' AND w.pid = ANY(%s)
  AND (j.input -> 'v' ->> 'seconds')::float8 >= {LONG_SECONDS}
"""
BEGUN = """
SELECT m.id FROM chaos_moves m JOIN chaos_workers w ON w.id = m.worker_id
WHERE m.became = 'running' AND w.pid = ANY(%s) AND m.at > to_timestamp(%s)
"""


@pytest.fixture
def hosts(capsys):
    """Two of them."""
    wanted = os.environ.get("CHAOS_HOSTS", "")
    kind = Namespace if wanted != "addresses" and can_have_namespaces() else Address
    with capsys.disabled():
        sys.stdout.write(f"\ntwo hosts: {kind.kind}\n")
    with ExitStack() as stack:
        yield {label: stack.enter_context(kind(number=number, label=label)) for number, label in enumerate("ab")}


class Cluster:
    """The workers of two hosts, on a stage."""

    def __init__(self, stage, hosts):
        self._stage, self._hosts = stage, hosts
        self._pids = {label: set() for label in hosts}

    def pids(self, label):
        """The process ids of a host's workers, those that have ended among them."""
        self._pids[label] |= {self._stage.process(f"{name}-{label}").pid for name in LINES}
        return list(self._pids[label])

    def held_by(self, label):
        """The steps that a host runs now."""
        return {step for (step,) in self._stage.sql(HELD, self.pids(label))}

    def is_in_the_middle(self, label):
        """Whether a host has just begun a long step."""
        return bool(self._stage.sql(IN_THE_MIDDLE, self.pids(label)))

    def begun_by(self, label, since=0.0):
        """The steps that a host has begun since then."""
        return {step for (step,) in self._stage.sql(BEGUN, self.pids(label), since)}

    def cut(self, label):
        """Take a host off the network; returns when."""
        self._hosts[label].cut(self._proxies(label))
        return time.time()

    def join(self, label):
        """Put it on the network again; returns when."""
        joined = time.time()
        self._hosts[label].join(self._proxies(label))
        return joined

    def _proxies(self, label):
        return [proxy for name in LINES for proxy in self._stage.proxies[f"{name}-{label}"].values()]


def test_what_a_host_held_is_done_by_the_other_and_it_works_again_when_it_is_back(tmp_path, hosts):
    workers = {f"{name}-{label}": line for label in hosts for name, line in LINES.items()}
    places = {f"{name}-{label}": hosts[label].place for label in hosts for name in LINES}
    with Stage(tmp_path, SCALE, workers=workers, hosts=places) as stage:
        load, cluster = Load(stage, seed=20, jobs=JOBS, span=SPAN), Cluster(stage, hosts)
        try:
            load.start()
            more = count(JOBS)
            until(lambda: all(len(cluster.begun_by(label)) > 10 for label in hosts), what="both hosts run steps")
            until(lambda: is_in_the_middle(cluster, load, next(more)), what="one is in the middle of a step")
            cut = cluster.cut("a")
            time.sleep(FLIGHT_SECONDS)
            held = cluster.held_by("a")
            assert held
            until(lambda: held <= cluster.begun_by("b", since=cut), timeout=15, what="the other takes them over")
            time.sleep(max(0.0, cut + AWAY_SECONDS - time.time()))
            joined = cluster.join("a")
            until(lambda: has_begun(cluster, joined, load, next(more)), timeout=15, what="it works again")
            load.finish(SCALE.settle)
            wait_for_the_end(stage, SCALE.settle)
        finally:
            load.close()
        seen = evidence.Evidence(
            accepted=load.accepted, plans=load.plans, samples=load.samples, log=[], ledger=ledger.read(tmp_path),
            hooks=stage.hooks.read(), **evidence.gather(stage.database_url),
        )  # fmt: skip
        mine = {seen.workers[pid] for pid in cluster.pids("a") if pid in seen.workers}
    assert judge(seen, lost_limit=get_settings().lost_lease_limit) == []
    assert len(seen.accepted) >= JOBS
    assert [move for move in seen.moves if move.worker_id in mine and is_work(move, cut + FLIGHT_SECONDS, joined)] == []


def is_work(move, since, until):
    """Whether a worker began or ended a step between two times; the dispatcher takes steps back, and wakes them."""
    ended = move.was == "running" and move.became in {"succeeded", "suspended"}
    return (move.became == "running" or ended) and since < move.at < until


def is_in_the_middle(cluster, load, number):
    """Whether host a has just begun a long step; there is always one more to begin."""
    plan = plan_of(20, number, SCALE)
    given = {"name": plan.name, "seconds": LONG_SECONDS}
    load.submit(replace(plan, action="chain", input=given, total=TOTAL))
    time.sleep(0.2)
    return cluster.is_in_the_middle("a")


def has_begun(cluster, joined, load, number):
    """Whether host a has begun a step since it is back; there is always one more to begin."""
    load.submit(plan_of(20, number, SCALE))
    return cluster.begun_by("a", since=joined)
