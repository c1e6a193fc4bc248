"""The OpenAPI document, held against the app: every operation is called with generated data, right and wrong.

Checked of each answer: no server error, a documented status, content type and schema; wrong data is refused; a call
without a key is. Bounded here; FUZZ_EXAMPLES=500 in the environment looks longer.
"""

import os
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from agora import broker
from agora.jobs import catalogue
from api.app import create_app
from api.openapi_document import operation_id
from api.openapi_links import LINKS
from tests.support.caller import Caller
from tests.support.estate import BODIES
from tests.support.probe import probe

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


STEPS, WALKS = 8, EXAMPLES
LINKED = {operation_id(name) for maker, (_, targets) in LINKS.items() for name in (maker, *targets)}
MADE_FROM = {operation_id(name): BODIES[name] for name in LINKS if name in BODIES}
"""Bodies that make something: a schema cannot say which agents there are."""
walked = Counter()


class Walk(schema.include(operation_id=sorted(LINKED)).as_state_machine()):
    """Makes things, and follows the links of the answers (api/openapi_links.py)."""

    key = ""

    def before_call(self, case):
        name = case.operation.definition.raw["operationId"]
        if name in MADE_FROM:
            case.body, case.query, case.headers = MADE_FROM[name], {}, {}

    def after_call(self, response, case):
        walked[case.operation.definition.raw["operationId"], response.status_code] += 1

    def get_call_kwargs(self, case):
        return {"headers": {"Authorization": f"Bearer {self.key}"}}

    def validate_response(self, response, case, **kwargs):
        case.validate_response(response, excluded_checks=NOT_SAID, **kwargs)


def test_links_lead_on(key):
    """Answers lead to requests that are answered as described, with what the first ones made."""
    Walk.key = key
    walked.clear()
    Walk.run(
        settings=settings(
            max_examples=WALKS, stateful_step_count=STEPS, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )
    )  # fmt: skip
    followed = {name for (name, status), _ in walked.items() if name not in MADE_FROM and status < 300}
    assert len(followed) > 1, walked  # which ones changes with each operation that comes
