"""The same faults over RabbitMQ: the engine leans on nothing that only Redis has."""

import pytest

from tests.chaos.brokers import RabbitMQ
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
