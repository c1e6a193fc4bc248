"""The stage: a whole platform of processes whose workers reach Postgres and the broker through proxies of ours."""

import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
from celery import Celery

from agora.broker import STEP_TASK
from agora.client import Agora
from agora.db import engines
from agora.identity import service as identity
from agora.runtime.supervisor import Supervisor, read_procfile
from agora.runtime.up import Platform, find_procfile
from agora.settings import Settings, environment, override_environment
from tests.chaos import evidence, ledger, wallclock
from tests.chaos.brokers import RabbitMQ, Valkey
from tests.chaos.hosts import HERE
from tests.chaos.proxy import Network, Proxy
from tests.chaos.receiver import Hooks

WORKERS = {"worker-a": "worker", "worker-b": "worker", "worker-io": "worker-io"}
"""The workers of a run, and the line of the Procfile that each of them is."""
CPU_WORKERS = ("worker-a", "worker-b")
OTHERS = {"web": "web", "webhooks": "webhooks", "dispatcher": "dispatcher"}
SECOND = "dispatcher-2"
READY_SECONDS = 60.0
BUSY_SECONDS = 10.0


@dataclass
class Stage:
    """A running platform, and everything that faults need to hurt it. A context manager."""

    directory: Path
    scale: object
    without: str = ""
    rabbitmq: bool = False
    workers: dict = field(default_factory=lambda: dict(WORKERS))
    """The line of the Procfile that each worker is, by its name."""
    hosts: dict = field(default_factory=dict)
    """The host of each worker that is not to be a process beside the others, by its name: see ``hosts``."""
    proxies: dict = field(default_factory=dict)
    """By worker: ``{"postgres": Proxy, "broker": Proxy}``."""
    _supervisors: dict = field(default_factory=dict)

    def __enter__(self):
        self.network, self.hooks, self.broker = Network(), Hooks(), None
        env = self.scale.env | {"AGORA_AGENTS": "tests.chaos.agents", "CHAOS_DIR": str(self.directory)}
        if self.without:
            env["CHAOS_WITHOUT"] = self.without
        settings = Settings(port=18280, flower_port=15655)
        self.platform = Platform(data_dir=self.directory / "data", settings=settings, env=env)
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _start(self):
        lines = read_procfile(find_procfile().read_text())
        if self.without:
            lines["dispatcher"] = "python -m tests.chaos.dispatcher"
        self.platform.prepare()
        self.broker = RabbitMQ(self.directory / "rabbitmq") if self.rabbitmq else Valkey(self.platform)
        evidence.prepare(self.database_url)
        if "fence" in self.without:  # the database would refuse what the judge is to find
            self.sql("ALTER TABLE jobs DISABLE TRIGGER jobs_ended_stays")
            self.sql("ALTER TABLE steps DISABLE TRIGGER steps_ended_stays")
        base = environment() | self.platform.env
        if self.rabbitmq:
            base["AGORA_BROKER_URL"] = self.broker.url
        for name, line in OTHERS.items():
            self._add(name, lines[line], base)
        self._add(SECOND, lines["dispatcher"], base)
        for name, line in self.workers.items():
            host = self.hosts.get(name, HERE)
            self._add(name, host.prefix + lines[line], base | self._worker_env(name, host.address))
        for name in (*OTHERS, *self.workers):
            self.start(name)
        self._wait_until_ready()
        self._open_accounts()

    def _add(self, name, line, env):
        logs = self.directory / "logs"
        self._supervisors[name] = Supervisor({name: line}, env=env, logs=logs, say=lambda *_: None)

    def _worker_env(self, name, address):
        env, instance = self.platform.env, f"{name}-{self.platform.env['AGORA_INSTANCE']}"
        wallclock.prepare(self.directory, instance)
        made = {"postgres": Proxy(self.network, port_of(env["DATABASE_URL"]), address)}
        made["broker"] = Proxy(self.network, port_of(self.broker.url), address)
        self.proxies[name] = made
        given = {"AGORA_INSTANCE": instance, "DATABASE_URL": through(env["DATABASE_URL"], made["postgres"])}
        variable = "AGORA_BROKER_URL" if self.rabbitmq else "REDIS_URL"
        return given | {variable: through(self.broker.url, made["broker"])}

    def _wait_until_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError), urllib.request.urlopen(f"{self.platform.url}/readyz", timeout=5):
                if len(self.sql("SELECT 1 FROM workers")) >= len(self.workers):
                    return
            time.sleep(0.2)
        raise AssertionError(f"the platform did not become ready within {READY_SECONDS} s; logs: {self.directory}/logs")

    def _open_accounts(self):
        """Two teams: one whose events go to a webhook endpoint, one that nobody listens to, with the shorter way."""
        self.loud_key = self.platform.api_key
        with override_environment(self.platform.env):
            self.quiet_key = identity.create_key(identity.ensure_team("quiet"), "chaos").plain
            engines.dispose_all()
        with Agora(self.platform.url, self.loud_key) as api:
            kinds = ["job.succeeded", "job.failed", "job.cancelled"]
            self.hooks.secret = api.create_endpoint(self.hooks.url, event_types=kinds)["secret"]

    @property
    def database_url(self):
        """The main database, without a proxy."""
        return self.platform.env["DATABASE_URL"]

    def sql(self, statement, *parameters):
        """Run one statement on the main database; gives up after 5 s. Raises psycopg.OperationalError."""
        with psycopg.connect(
            self.database_url, autocommit=True, connect_timeout=5, options="-c statement_timeout=20000"
        ) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def start(self, name):
        """Start a process, and keep it running."""
        self._supervisors[name].start(name)

    def stop(self, name):
        """Stop a process, and keep it stopped."""
        self._supervisors[name].stop(name)

    def process(self, name):
        """The main process of a service. Raises psutil.NoSuchProcess while it is being started anew."""
        pid = self._supervisors[name].pid(name)
        if pid is None:
            raise psutil.NoSuchProcess(-1, name)
        return psutil.Process(pid)

    def child(self, name, rng):
        """A process of a worker's pool: one that is in the middle of a step, if there is one soon."""
        deadline = time.monotonic() + BUSY_SECONDS
        before = {}
        while True:
            children = self.process(name).children()
            busy = ledger.at_work(self.directory)
            # One that was at the same step a look ago: most steps have ended before a signal comes.
            found = [child for child in children if child.pid in busy and before.get(child.pid) == busy[child.pid]]
            if found or time.monotonic() > deadline:
                return rng.choice(found or children)
            before = busy
            time.sleep(0.1)

    def ring(self, steps):
        """Publish the rings of ``(step id, queue)`` once more, straight to the broker."""
        with Celery(broker=self.broker.url) as app:
            for step_id, queue in steps:
                app.send_task(STEP_TASK, (step_id,), task_id=step_id, queue=queue, ignore_result=True, retry=False)

    def clock(self, name, seconds):
        """Set the wall clock of a worker off by so much."""
        wallclock.move(self.directory, f"{name}-{self.platform.env['AGORA_INSTANCE']}", seconds)

    def close(self):
        """Stop everything, processes before services."""
        stoppers = [threading.Thread(target=one.stop_all) for one in self._supervisors.values()]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
        if self.broker is not None:
            self.broker.close()
        self.platform.stop()
        self.network.close()
        self.hooks.close()


def family(process):
    """A process and its descendants, parents first; those that end meanwhile are left out."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def port_of(url):
    """The port that a URL names."""
    return urlsplit(url).port


def through(url, proxy):
    """The same URL, through a proxy."""
    parsed = urlsplit(url)
    account, place = parsed.netloc.rpartition("@")[0], f"{proxy.address}:{proxy.port}"
    return parsed._replace(netloc=f"{account}@{place}" if account else place).geturl()
