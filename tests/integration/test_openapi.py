"""The OpenAPI document, held against the app: every operation is called with generated data, right and wrong.

Each is called by whom its permission asks for. Checked of each answer: no server error, a documented status, content
type and schema; wrong data is refused; a call without credentials is. Bounded here; FUZZ_EXAMPLES=500 in the
environment looks longer.
"""

import os
from collections import Counter, defaultdict

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance, response_schema_conformance

from agora import broker
from agora.jobs import catalogue
from api.app import create_app
from api.openapi_document import METHODS, operation_id
from api.openapi_links import LINKS
from tests.support import people
from tests.support.callers import Callers
from tests.support.estate import BODIES
from tests.support.people import Browser
from tests.support.probe import probe

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))
NOT_SAID = [positive_data_acceptance]
"""What a schema cannot say: which agents there are, what their input is, which ids exist."""


def without_team(_, document):
    """The document without the header that names a team: hardly any value is one of the caller's, and then nothing else
    is tried. tests/security/test_authorisation.py tries it on every route."""
    for item in document["paths"].values():
        for operation in [one for method, one in item.items() if method in METHODS]:
            operation["parameters"] = [one for one in operation["parameters"] if one != OF_TEAM]


OF_TEAM = {"$ref": "#/components/parameters/Agora-Team"}
schemathesis.hook("before_load_schema")(without_team)
schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", create_app())


answered = defaultdict(Counter)
"""How often each operation answered what was right with which status. Much that is wrong is refused to anybody."""


@pytest.fixture
def callers(db, monkeypatch, setting):
    setting("AGORA_SIGN_UP", "open")
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 10_000_000)  # each operation is also called without credentials
    monkeypatch.setattr(broker, "ring", lambda rings: True)
    monkeypatch.setattr(broker, "ring_deliveries", lambda: True)
    catalogue.register_worker(list(probe.actions.values()), worker_id="wrk_fuzz", hostname="here", pid=1)
    return Callers(schema.app)


def name_of(case):
    return case.operation.definition.raw["operationId"]


def left_out(case):
    """Checks that an answer need not pass: with ``fields`` it is a part of its schema."""
    return [*NOT_SAID, response_schema_conformance] if "fields" in (case.query or {}) else NOT_SAID


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
def test_every_operation_keeps_to_its_description(case, callers):
    name, is_right = name_of(case), case.meta.generation.mode.is_positive
    if name == "sign_in_refresh" and is_right:  # its schema cannot say which tokens there are
        case.body = {"refresh_token": Browser(schema.app, people.sign_up()).tokens["refresh_token"]}
    for _ in range(2):
        answer = case.call_and_validate(headers=callers.headers(name), excluded_checks=left_out(case))
        if is_right:
            answered[name][answer.status_code] += 1
        if not callers.renew(name, answer.status_code):
            break


def test_every_operation_was_called_by_somebody_who_may():
    """What is only refused shows nothing of its bodies and answers. Runs after all the others of this file."""
    every = {one.ok().definition.raw["operationId"] for one in schema.get_all_operations()}
    assert answered.keys() == every
    assert {name: seen for name, seen in answered.items() if not seen.keys() - {401, 403}} == {}


STEPS, WALKS = 20, EXAMPLES
TARGETS = {operation_id(name) for targets in LINKS.values() for name in targets}
LINKED = TARGETS | {operation_id(name) for name in LINKS}
MADE_FROM = {operation_id(name): BODIES[name] for name in LINKS if name in BODIES}
"""Bodies that make something: a schema cannot say which agents there are."""
walked = Counter()


class Walk(schema.include(operation_id=sorted(LINKED)).as_state_machine()):
    """Makes things, and follows the links of the answers (api/openapi_links.py)."""

    callers: Callers

    def before_call(self, case):
        name = name_of(case)
        if name in MADE_FROM:
            case.body, case.query, case.headers = MADE_FROM[name], {}, {}

    def after_call(self, response, case):
        walked[name_of(case), response.status_code] += 1

    def get_call_kwargs(self, case):
        return {"headers": self.callers.headers(name_of(case))}

    def validate_response(self, response, case, **kwargs):
        case.validate_response(response, excluded_checks=left_out(case), **kwargs)


def test_links_lead_on(callers):
    """Answers lead to requests that are answered as described, with what the first ones made."""
    people.sign_up(email=BODIES["system.grant"]["email"])
    Walk.callers = callers
    walked.clear()
    Walk.run(
        settings=settings(
            max_examples=WALKS, stateful_step_count=STEPS, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )
    )  # fmt: skip
    followed = {name for name, status in walked if name in TARGETS and status < 300}
    # Which ones changes with each operation that comes; each is followed once by test_openapi_links.py.
    assert len(followed) > 1, walked
