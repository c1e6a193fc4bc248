"""What several of these tests need: a receiver, a team, engines that are stopped at the end."""

import logging

import pytest
import structlog
from sqlalchemy import text

from agora import broker
from agora.caching import generations
from agora.caching.cache import Cache
from agora.caching.generations import LEASE_SECONDS
from agora.db.session import transaction
from agora.identity import administrators, oidc_provider
from agora.identity.roles import SystemRole
from agora.quotas import tiers
from agora.runtime.valkey import EmbeddedValkey
from agora.webhooks.delivery import DeliveryEngine
from tests.support import people
from tests.support.headers import Headers
from tests.support.hostile import Hostile
from tests.support.people import Browser
from tests.support.probe import probe
from tests.support.provider import CLIENT_ID, CLIENT_SECRET, HOME, Provider
from tests.support.receiver import Receiver
from tests.support.rig import Rig
from tests.support.webhooks import Team


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def hostile():
    made = Hostile()
    yield made
    made.close()


@pytest.fixture(scope="session")
def headers_of_answers(application):
    """The headers of all answers that the application has given in this test."""
    return Headers(application)


@pytest.fixture(autouse=True)
def _headers_are_described(request):
    """Whatever a test asks for, the document describes the headers of the answers.

    Unless the test makes a version of its own, with ``extra``, of which the document knows nothing.
    """
    if "application" not in request.fixturenames or "extra" in request.fixturenames:
        yield
        return
    found = request.getfixturevalue("headers_of_answers")
    found.noted.clear()
    yield
    assert found.undescribed() == {}


@pytest.fixture
def calm(caplog):
    """Whatever a receiver does, nobody is woken: neither we nor a library log a warning or worse."""
    with structlog.testing.capture_logs() as ours:
        yield
    grave = [line for line in ours if line["log_level"] in {"warning", "error", "critical"}]
    for phase in ("setup", "call"):
        grave += [record.getMessage() for record in caplog.get_records(phase) if record.levelno >= logging.WARNING]
    assert grave == []


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(broker, "ring_deliveries", lambda: True)


@pytest.fixture
def engines():
    """Makes engines that are stopped at the end."""
    made = []

    def make(**options):
        made.append(DeliveryEngine(**{"timeout": 5.0} | options))
        return made[-1]

    yield make
    for engine in made:
        engine.stop(0)


@pytest.fixture(autouse=True, scope="session")
def one_process():
    """Writers need not wait until no other process trusts what it heard: there is none. Of those where there is, the
    tests put it back (as_many_processes)."""
    patch = pytest.MonkeyPatch()
    patch.setattr(generations, "LEASE_SECONDS", 0.0)
    yield
    patch.undo()


@pytest.fixture
def limit(caller):
    """Gives the caller's team quotas."""

    def set_(**quotas):
        tiers.move_team("t", None, quotas)

    return set_


@pytest.fixture
def cache(db):
    """A cache of a few values, of tags of its own."""
    return Cache("tried", seconds=30.0, size=3)


@pytest.fixture
def as_many_processes(monkeypatch):
    """What was heard of tags holds for a while, and writers wait for it: as in earnest."""
    monkeypatch.setattr(generations, "LEASE_SECONDS", LEASE_SECONDS)


@pytest.fixture
def rig(db, monkeypatch, caller):
    """A worker of the agent `probe`, for the team of ``caller``."""
    made = Rig(monkeypatch, probe)
    made.team_id = caller.team_id
    return made


@pytest.fixture
def admin(app):
    """Makes administrators: signed in with a second factor."""

    def make(role=SystemRole.SUPER):
        person = people.set_second_factor(people.sign_up())
        administrators.grant(person.email, role, by=None)
        browser = Browser(app)
        browser.sign_in(person, code=person.code())
        browser.person = person
        return browser

    return make


@pytest.fixture
def as_landed():
    """Tiers are data that no test empties."""
    before = tiers.list_tiers()
    yield
    with transaction("auth") as session:
        session.execute(text("UPDATE teams SET tier = 'enterprise'"))
        names = [one.tier for one in before]
        session.execute(text("DELETE FROM tiers WHERE NOT name = ANY(:names)"), {"names": names})
    for one in before:
        tiers.set_tier(one.tier, {name: getattr(one, name) for name in tiers.NAMES})


@pytest.fixture
def own_valkey(tmp_path, db, setting):
    """A server that may be stopped, or frozen."""
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    setting("REDIS_URL", server.url)
    yield server
    server.stop()


@pytest.fixture
def team():
    return Team()


@pytest.fixture(scope="session")
def liar():
    with Provider().running() as provider:
        yield provider


@pytest.fixture
def use_provider(app, setting):
    """Lets the platform use a provider, as an operator would."""

    def configure(issuer):
        setting("AGORA_PUBLIC_URL", HOME)
        setting("AGORA_OIDC_CLIENT_ID", CLIENT_ID)
        setting("AGORA_OIDC_CLIENT_SECRET", CLIENT_SECRET)
        setting("AGORA_OIDC_ISSUER", issuer)
        setting("AGORA_SIGN_UP", "open")
        setting("AGORA_OIDC_TRUSTED_DOMAINS", "corp.test, other.test")
        oidc_provider._kept.clear()
        oidc_provider._failed.clear()

    return configure


@pytest.fixture
def provider(use_provider, liar):
    """The one that lies, as it is before it does."""
    liar.claims, liar.metadata, liar.userinfo, liar.signed = {}, {}, None, liar.sign
    use_provider(liar.url)
    return liar
