"""A worker in the test's own process: collects what would be rung and runs it step by step, on the real database."""

from collections import deque

from sqlalchemy import text

from agora import broker
from agora.agents import Agent
from agora.db.session import transaction
from agora.ids import new_id
from agora.jobs import catalogue, service
from agora.jobs.engine import Engine
from agora.jobs.types import Submission


class Rig:
    """Runs one agent's actions. ``rung`` holds the steps that a broker would have been told of."""

    def __init__(self, monkeypatch, agent: Agent, **engine_options):
        self.agent = agent
        self.team_id = new_id("team")
        self.rung: deque[broker.Ring] = deque()
        self.sql("DELETE FROM agent_versions WHERE agent = :agent", agent=agent.name)
        monkeypatch.setattr(broker, "ring", self._take)
        monkeypatch.setattr(broker, "ring_deliveries", lambda: True)
        self.engine = self.worker(**engine_options)

    def _take(self, rings):
        self.rung.extend(rings)
        return True

    def worker(self, **options) -> Engine:
        """Another worker that can run the same actions."""
        worker_id = new_id("wrk")
        actions = list(self.agent.actions.values())
        catalogue.forget()
        catalogue.register_worker(actions, worker_id=worker_id, hostname="here", pid=1)
        # It does not report, and a slow test is no dead worker.
        self.sql("UPDATE workers SET seen_at = now() + interval '1 hour' WHERE id = :id", id=worker_id)
        known = {catalogue.label_of(action): action for action in actions}
        return Engine(worker_id=worker_id, actions=known, **options)

    def submit(self, action: str, value=None, **options):
        """Submit a job and return it."""
        submission = Submission(agent=self.agent.name, action=action, input=value or {}, **options)
        return service.submit(submission, team_id=self.team_id).job

    def run(self, *, at_most: int = 100) -> list[str | None]:
        """Run what is rung until nothing is; returns how each try ended."""
        ended = []
        while self.rung and len(ended) < at_most:
            ended.append(self.engine.run(self.rung.popleft().step_id))
        return ended

    def job(self, job):
        """The job as it is now."""
        return service.get_job(job.id, team_id=self.team_id)

    def events(self, job) -> list[str]:
        """The types of its events, in order; fails when their numbers have a gap."""
        found = service.list_events(job.id, team_id=self.team_id)
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        return [event.type for event in found]

    def sql(self, statement: str, **parameters):
        """Run one statement and return its rows, if it has any."""
        with transaction() as session:
            result = session.execute(text(statement), parameters)
            return result.mappings().all() if result.returns_rows else result.rowcount
