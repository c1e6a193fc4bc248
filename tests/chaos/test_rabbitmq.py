"""The same faults over RabbitMQ: the engine leans on nothing that only Redis has."""

import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection

from agora.runtime.up import Platform
from agora.settings import Settings
from tests.acceptance.conftest import PROCESSES, SCALED, Running, until
from tests.chaos.brokers import QUEUES, RabbitMQ
from tests.chaos.faults import FAULTS
from tests.chaos.run import Options, run
from tests.chaos.scale import SHORT

pytestmark = [pytest.mark.extra, pytest.mark.acceptance, pytest.mark.timeout(300)]


def test_every_fault_in_a_mix_over_rabbitmq(tmp_path):
    assert RabbitMQ.is_installed(), "Debian: apt-get install rabbitmq-server"
    options = Options(seed=20, jobs=300, faults=len(FAULTS), scale=SHORT, rabbitmq=True)
    result = run(options, tmp_path, say=print)
    assert result.findings == []
    assert [(entry.fault.name, entry.not_run) for entry in result.seen.log if entry.not_run] == []


@pytest.fixture
def rabbit(tmp_path):
    assert RabbitMQ.is_installed(), "Debian: apt-get install rabbitmq-server"
    broker = RabbitMQ(tmp_path / "rabbitmq")
    yield broker
    broker.close()


def test_rings_may_go_over_quorum_queues(rabbit, tmp_path):
    env = SCALED | {"AGORA_BROKER_URL": rabbit.url, "AGORA_BROKER_QUEUES": "quorum"}
    settings = Settings(port=18880, flower_port=16255)
    with Platform(data_dir=tmp_path / "data", settings=settings, env=env, only=PROCESSES, fsync=False) as platform:
        running = Running(platform)
        running.sql("CREATE TABLE IF NOT EXISTS effects (key text)")
        until(lambda: any(one["live_workers"] for one in running.api.agents()), what="a worker registered")
        jobs = [running.submit(f"job-{number}", "quick") for number in range(30)]
        assert {running.ended(job)["status"] for job in jobs} == {"succeeded"}
        with Connection(rabbit.url) as connection:
            for queue in (*QUEUES, "webhooks"):
                with pytest.raises(PreconditionFailed, match="x-queue-type"):
                    declare(connection, queue, "classic")
                declare(connection, queue, "quorum")
        running.api.close()


def declare(connection, queue, kind):
    """Say what a queue is; RabbitMQ contradicts when it is something else."""
    with connection.channel() as channel:
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": kind})
