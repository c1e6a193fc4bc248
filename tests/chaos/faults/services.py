"""Faults of the services and of the network to them."""

import signal
import time

import psutil
import psycopg

from tests.chaos.faults.processes import frozen, pids_of, send
from tests.chaos.faults.registry import fault
from tests.chaos.stage import BUSY_SECONDS, WORKERS, family

DATABASE, BROKER = "postgres", "broker"


@fault(BROKER)
def flushall(stage, _target, _rng):
    """The broker forgets everything, at a moment when messages wait in it if there is one soon."""
    deadline = time.monotonic() + BUSY_SECONDS
    while not (waiting := stage.broker.waiting()) and time.monotonic() < deadline:
        time.sleep(0.005)
    stage.broker.forget()
    yield f"{waiting} messages forgotten"


@fault(BROKER, lasts="outage")
def broker_killed(stage, _target, _rng):
    """kill -9 of the broker; Valkey comes back empty."""
    processes = stage.broker.processes
    send(processes, signal.SIGKILL)
    try:
        yield f"pids {pids_of(processes)}"
    finally:
        stage.broker.restart()


@fault(BROKER, lasts="outage")
def broker_frozen(stage, _target, _rng):
    """The broker takes connections and answers nothing."""
    yield from frozen(stage.broker.processes)


def cut(proxy):
    """Reset the connections of a proxy for the length of the block."""
    proxy.cut()
    try:
        yield "connections reset and refused"
    finally:
        proxy.heal()


def blackhole(proxy, rng):
    """Let a proxy pass nothing for the length of the block; then it goes on, or resets what it held."""
    reset = rng.random() < 0.5
    proxy.blackhole()
    try:
        yield "then reset" if reset else "then passed on"
    finally:
        proxy.heal(reset=reset)


@fault(*WORKERS, lasts="outage")
def broker_cut(stage, target, _rng):
    """A worker cannot connect to the broker."""
    yield from cut(stage.proxies[target]["broker"])


@fault(*WORKERS, lasts="outage")
def broker_half_open(stage, target, rng):
    """A worker's sockets to the broker stay open, and nothing comes."""
    yield from blackhole(stage.proxies[target]["broker"], rng)


@fault(*WORKERS, lasts="outage")
def postgres_cut(stage, target, _rng):
    """A worker cannot connect to Postgres."""
    yield from cut(stage.proxies[target]["postgres"])


@fault(*WORKERS, lasts="outage")
def postgres_half_open(stage, target, rng):
    """A worker's sockets to Postgres stay open, and nothing comes: it may record, and never hear that it did."""
    yield from blackhole(stage.proxies[target]["postgres"], rng)


@fault(DATABASE, excuses=True)
def postgres_restarted(stage, _target, _rng):
    """Postgres is shut down in order and started again."""
    started = time.monotonic()
    stage.platform.postgres.stop()
    stage.platform.postgres.start()
    yield f"away {time.monotonic() - started:.1f} s"


@fault(DATABASE, excuses=True)
def postgres_crashed(stage, _target, _rng):
    """Every process of Postgres is killed; it recovers from its log."""
    started = time.monotonic()
    send(family(psutil.Process(stage.platform.postgres.pid)), signal.SIGKILL)
    stage.platform.postgres.stop()
    stage.platform.postgres.start()
    yield f"away {time.monotonic() - started:.1f} s"


@fault(DATABASE, lasts="freeze", excuses=True)
def postgres_frozen(stage, _target, _rng):
    """Postgres takes connections and answers nothing."""
    yield from frozen(family(psutil.Process(stage.platform.postgres.pid)))


@fault(DATABASE, excuses=True)
def connections_killed(stage, _target, _rng):
    """Every connection of the platform is ended by the server, whatever it was doing."""
    with psycopg.connect(stage.database_url, autocommit=True, connect_timeout=5) as connection:
        ended = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'agora'"
        ).fetchone()[0]
    yield f"{ended} connections"
