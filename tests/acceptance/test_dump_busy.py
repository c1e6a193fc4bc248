"""A dump of a busy platform, restored into a fresh one: consistent, and no work is lost or done twice."""

import shutil
import threading
import time
from collections import Counter

import psycopg
import pytest

from agora.client import Agora, ApiError
from agora.runtime import dump
from agora.runtime.postgres import EmbeddedPostgres
from agora.runtime.up import Platform
from agora.settings import Settings
from tests.acceptance.conftest import PROCESSES, SCALED, Running, until
from tests.support.receiver import Receiver

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(170)]
PORTS = {"port": 18380, "flower_port": 18385}

DANGLING = {
    "a step without its job": "SELECT count(*) FROM steps s"
    " WHERE NOT EXISTS (SELECT FROM jobs j WHERE j.id = s.job_id)",
    "an event without its job": "SELECT count(*) FROM events e WHERE job_id IS NOT NULL"
    " AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = e.job_id)",
    "a try without its step": "SELECT count(*) FROM attempts a"
    " WHERE NOT EXISTS (SELECT FROM steps s WHERE s.id = a.step_id)",
    "a delivery without its endpoint": "SELECT count(*) FROM webhook_deliveries d"
    " WHERE NOT EXISTS (SELECT FROM webhook_endpoints e WHERE e.id = d.endpoint_id)",
    "a key without its job": "SELECT count(*) FROM idempotency_keys k WHERE k.route LIKE '%/jobs'"
    " AND NOT EXISTS (SELECT FROM jobs j WHERE j.id = k.resource_id)",
    "an open job without an open step": "SELECT count(*) FROM jobs j WHERE j.ended_at IS NULL AND NOT EXISTS"
    " (SELECT FROM steps s WHERE s.job_id = j.id AND s.status IN ('ready', 'running', 'suspended'))",
    "an ended job with an open step": "SELECT count(*) FROM jobs j WHERE j.ended_at IS NOT NULL AND EXISTS"
    " (SELECT FROM steps s WHERE s.job_id = j.id AND s.status IN ('ready', 'running', 'suspended'))",
    "events with a gap": "SELECT count(*) FROM (SELECT j.id FROM jobs j JOIN events e ON e.job_id = j.id"
    " GROUP BY j.id, j.event_seq HAVING count(*) <> j.event_seq OR max(e.seq) <> j.event_seq) gaps",
    "a lease": "SELECT count(*) FROM steps WHERE status = 'running' OR fence IS NOT NULL OR lease_expires_at > now()",
    "a ring": "SELECT count(*) FROM steps WHERE rung_at IS NOT NULL",
    "a sender": "SELECT count(*) FROM webhook_deliveries WHERE status = 'leased'",
    "a worker": "SELECT count(*) FROM workers",
}


class Stream(threading.Thread):
    """Submits jobs, each under an idempotency key of its own, until it is stopped."""

    def __init__(self, running, url):
        super().__init__(daemon=True)
        self.running, self.url = running, url
        self.accepted, self.stopped = {}, threading.Event()

    def run(self):
        with Agora(self.running.platform.url, self.running.platform.api_key) as api:
            while not self.stopped.is_set() and len(self.accepted) < 3_000:
                key = f"busy-{len(self.accepted)}"
                webhook = {"url": self.url} if len(self.accepted) % 5 == 0 else None
                given = {"name": key, "seconds": 0.05 if len(self.accepted) % 3 == 0 else 0}
                made = api.submit("probe", "chain", given, idempotency_key=key, webhook=webhook)
                self.accepted[key] = (made["id"], given, webhook)
                time.sleep(0.005)

    def stop(self):
        self.stopped.set()
        self.join(30)
        assert not self.is_alive()


def urls_of(env):
    return {"main": env["DATABASE_URL"], "auth": env["AUTH_DATABASE_URL"]}


def test_a_dump_of_a_busy_platform_goes_on_in_a_fresh_one(running, tmp_path):
    receiver = Receiver()
    stream = Stream(running, receiver.url("/busy"))
    stream.start()
    try:
        until(lambda: len(stream.accepted) > 150, what="a stream of jobs")
        manifest = dump.dump(urls_of(running.platform.env), tmp_path / "busy.dump")
        at_dump = len(stream.accepted)
        until(lambda: len(stream.accepted) > at_dump + 50, what="the stream goes on after the dump")
    finally:
        stream.stop()
    old_data, data = running.platform.data_dir, tmp_path / "fresh"
    data.mkdir()
    for name in ("secret.key", "files"):
        if (old_data / name).exists():
            (shutil.copytree if (old_data / name).is_dir() else shutil.copy)(old_data / name, data / name)
    under_way = restore(data, tmp_path / "busy.dump", manifest)
    assert under_way > 0, "the dump caught jobs in the middle"
    with Platform(data_dir=data, settings=Settings(**PORTS), env=dict(SCALED), only=PROCESSES) as platform:
        fresh = Running(platform)
        try:
            judge(fresh, stream)
            until(lambda: delivered(fresh), what="the webhooks of the restored platform are delivered")
        finally:
            fresh.api.close()
            receiver.close()


def restore(data, source, manifest):
    """Restore before anything runs, and look at what is there; returns how many jobs had begun and not ended."""
    postgres = EmbeddedPostgres(data, fsync=False)
    postgres.start()
    try:
        urls = {"main": postgres.url("agora_main"), "auth": postgres.url("agora_auth")}
        for name in ("agora_main", "agora_auth"):
            with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                    connection.execute(f"CREATE DATABASE {name}")
        dump.restore(urls, source)
        found = dump.count_rows(urls["main"])
        workers = manifest["main"]["rows"]["workers"]
        assert found | {"workers": workers} == manifest["main"]["rows"], "the counts are those of the dump's moment"
        assert dump.count_rows(urls["auth"]) == manifest["auth"]["rows"]
        with psycopg.connect(urls["main"]) as connection:
            wrong = {told: connection.execute(query).fetchone()[0] for told, query in DANGLING.items()}
            assert wrong == dict.fromkeys(DANGLING, 0)
            query = "SELECT count(*) FROM jobs WHERE started_at IS NOT NULL AND ended_at IS NULL"
            return connection.execute(query).fetchone()[0]
    finally:
        postgres.stop()


def judge(fresh, stream):
    """Every job of the dump has ended or goes on to its end, once; keys stand for the same jobs."""
    until(lambda: any(one["live_workers"] for one in fresh.api.agents()), what="a worker registered")
    ours = [job_id for job_id, _, _ in stream.accepted.values()]
    query = "SELECT id, status, output FROM jobs WHERE id = ANY(%s)"
    ended = "SELECT count(*) FROM jobs WHERE id = ANY(%s) AND ended_at IS NULL"
    until(lambda: fresh.sql(ended, ours) == [(0,)], 90, "the restored jobs end")
    there = {row[0]: row[1:] for row in fresh.sql(query, ours)}
    assert 150 < len(there) < len(ours), "some came after the dump"
    assert {status for status, _ in there.values()} == {"succeeded"}
    effects = Counter(key.split(":")[0] for (key,) in fresh.sql("SELECT key FROM effects"))
    assert {job_id: effects[job_id] for job_id in there} == dict.fromkeys(there, 1)
    tries = fresh.sql("SELECT max(attempt), max(lost_leases) FROM steps WHERE job_id = ANY(%s)", ours)
    assert tries[0][1] == 0, "what was under way burnt no lease"
    keys = {key: job_id for key, (job_id, _, _) in stream.accepted.items()}
    known = next(key for key, job_id in keys.items() if job_id in there)
    unknown = next(key for key, job_id in keys.items() if job_id not in there)
    for key, same in ((known, True), (unknown, False)):
        _, given, webhook = stream.accepted[key]
        again = fresh.api.submit("probe", "chain", given, idempotency_key=key, webhook=webhook)
        assert (again["id"] == keys[key]) is same
    with pytest.raises(ApiError) as reused:
        fresh.api.submit("probe", "chain", {"name": "other"}, idempotency_key=known)
    assert reused.value.status == 422


def delivered(fresh):
    return fresh.sql("SELECT count(*) FROM webhook_deliveries WHERE ended_at IS NULL") == [(0,)]
