"""Agora: one Celery task per step; every guarantee and every event on (claim, lease, fence, attempts, events)."""
import json
import os
import sys
import time
import urllib.request

import common
import psycopg

ROOT = os.path.dirname(os.path.dirname(common.HERE))
sys.path[:0] = [ROOT, os.path.join(ROOT, "platform")]
AUTH = "agora_auth"
SECRET = "benchmark-secret-benchmark-secret-benchmark"


class Agora(common.Peer):
    name = "agora"
    variants = {
        "default": {"args": "-P prefork -c 2"},
        "best": {"args": "-P solo", "workers": 2},
        "batch": {"args": "-P prefork -c 2", "batch": 1000},
    }

    def environment(self):
        return {"DATABASE_URL": common.pg_uri(self.db), "AUTH_DATABASE_URL": common.pg_uri(AUTH),
                "REDIS_URL": common.redis_url() + "/5", "AGORA_SECRET_KEY": SECRET, "AGORA_AGENTS": "bench.agents",
                "AGORA_LOG_LEVEL": "warning", "AGORA_DATA_DIR": os.environ["PEERS_WORK"],
                "PYTHONPATH": os.pathsep.join([ROOT, f"{ROOT}/platform", os.environ.get("PYTHONPATH", "")])}

    def prepare(self):
        os.environ.update(self.environment())
        from agora.db.migrate import upgrade
        from agora.db.session import transaction
        from agora.jobs import catalogue
        from bench.agents import agent

        upgrade("main", common.pg_uri(self.db))
        common.make_db(AUTH)  # a submit asks what the team's tier allows
        upgrade("auth", common.pg_uri(AUTH))
        with transaction() as session:
            catalogue.register(session, list(agent.actions.values()))
        from agora.db.engines import dispose_all
        dispose_all()  # the next phases copy this database, which must have no other user then
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        with psycopg.connect(common.pg_uri("postgres"), autocommit=True) as other:
            while other.execute(query, (self.db,)).fetchone()[0]:
                time.sleep(0.05)

    def connect(self):
        os.environ.update(self.environment())
        from agora.db.engines import dispose_all
        from agora.jobs import service, types
        from agora.settings import get_settings
        dispose_all()
        get_settings.cache_clear()  # this database, not the one that prepare() made
        get_settings()
        self.service, self.types = service, types

    def http(self):
        """The real API, as the Procfile starts it: gunicorn, two processes, a key from the auth database."""
        from agora.db.engines import dispose_all
        from agora.identity import service as identity

        key = identity.create_key(identity.ensure_team("bench"), "bench")
        dispose_all()
        port = common.free_port()
        self.spawn([sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_conf", "api.wsgi:app"],
                   **self.environment(), AGORA_PORT=str(port), AGORA_HOST="127.0.0.1")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        return (f"http://127.0.0.1:{port}/api/v1/jobs",
                lambda job: json.dumps({"agent": "bench", "action": "chain", "input": common.payload(job)}),
                {"Content-Type": "application/json", "Authorization": f"Bearer {key.plain}"})

    def start_workers(self):
        env = self.environment()
        for i in range(self.opts.get("workers", 1)):
            self.spawn([sys.executable, "-m", "celery", "-A", "workers.celery", "worker", "-n", f"w{i}@bench",
                        "-Q", "cpu", "--without-gossip", "--without-mingle", "--loglevel", "warning",
                        *self.opts["args"].split()], **env)
        self.spawn([sys.executable, "-c", "from agora.dispatcher.loop import main; main()"], **env)

    def submit(self, job):
        submission = self.types.Submission(agent="bench", action="chain", input=common.payload(job))
        return self.service.submit(submission, team_id="team_bench").job.id

    def submit_all(self, jobs):
        if "batch" not in self.opts:
            return super().submit_all(jobs)
        from agora.batches import service as batches

        made, size = [], self.opts["batch"]
        for start in range(0, len(jobs), size):
            submissions = [self.types.Submission(agent="bench", action="chain", input=common.payload(job))
                           for job in jobs[start:start + size]]
            made += batches.submit_batch(submissions, team_id="team_bench").job_ids
        return made

    def done(self, handles):
        if len(handles) == 1:
            return self.one("SELECT count(*) FROM jobs WHERE id = %s AND status = 'succeeded'", handles[0])[0]
        return self.one("SELECT count(*) FROM jobs WHERE id >= %s AND id <= %s AND status = 'succeeded'",
                        handles[0], handles[-1])[0]

    def verify(self, prefix):
        return self.one("SELECT count(DISTINCT j.id), count(s.id) FROM jobs j JOIN steps s ON s.job_id = j.id "
                        "WHERE j.input->'v'->>'job' LIKE %s AND j.status = 'succeeded' "
                        "AND s.status = 'succeeded' AND s.result IS NOT NULL", prefix + "%")


if __name__ == "__main__":
    common.main(Agora)
