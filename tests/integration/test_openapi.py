"""The OpenAPI document, held against the app: every operation is called with generated data, right and wrong.

Checked of each answer: no server error, a documented status, content type and schema; wrong data is refused; a call
without a key is. Bounded here; FUZZ_EXAMPLES=500 in the environment looks longer.
"""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from agora import broker
from agora.jobs import catalogue
from api.app import create_app
from tests.integration.test_api import probe
from tests.support.caller import Caller

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))
NOT_SAID = [positive_data_acceptance]
"""What a schema cannot say: which agents there are, what their input is, which ids exist."""

schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", create_app())


@pytest.fixture
def key(db, monkeypatch):
    monkeypatch.setattr(broker, "ring", lambda rings: True)
    monkeypatch.setattr(broker, "ring_deliveries", lambda: True)
    catalogue.register_worker(list(probe.actions.values()), worker_id="wrk_fuzz", hostname="here", pid=1)
    return Caller(schema.app, team="fuzzed").key


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
def test_every_operation_keeps_to_its_description(case, key):
    case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, excluded_checks=NOT_SAID)
