"""Redis that has forgotten something, or comes back older than it was: nobody trusts what was remembered by it."""

import pytest
import structlog

from agora.caching import epoch, generations, link
from agora.caching.generations import changed, changing
from agora.settings import get_settings
from tests.support.reading import Source

pytestmark = pytest.mark.usefixtures("as_many_processes")


def test_a_redis_that_has_forgotten_everything_makes_everybody_forget(cache):
    source = Source()
    cache.get("k", ("x",), source)
    source.value = "b"
    changed("x")
    link.ask(lambda client: client.flushdb())
    assert cache.get("k", ("x",), source) == "b"


def test_a_redis_that_comes_back_with_an_older_state_makes_everybody_forget(cache, own_valkey):
    """From a snapshot of before a write: its tags are those of before as well."""
    source = Source()
    cache.get("k", ("x",), source)
    link.ask(lambda client: client.save())
    with changing("x"):
        source.value = "b"
    own_valkey.stop()
    own_valkey.start()
    link.forget()
    generations.forget()
    assert cache.get("k", ("x",), source) == "b"
    assert cache.get("k", ("x",), source) == "b"
    assert source.reads == 2


def epoch_of(client):
    client.connection_pool.disconnect()
    return client.get(epoch.EPOCH)


def test_the_epoch_stays_while_the_server_does(cache):
    client = link.client_of(get_settings().redis_url)
    assert len({epoch_of(client) for _ in range(3)}) == 1
    before = epoch_of(client)
    client.set(epoch.RUN, "another")
    assert before != epoch_of(client) == epoch_of(client)


def test_a_redis_that_does_not_tell_its_run_id_is_used_and_that_is_said_once(cache, own_valkey, setting, monkeypatch):
    monkeypatch.setattr(epoch, "_warned", False)
    link.ask(lambda client: client.acl_setuser(
        "plain", enabled=True, passwords=["+" + own_valkey._password()], keys=["*"], commands=["+@all", "-info"]
    ))  # fmt: skip
    setting("REDIS_URL", own_valkey.url.replace("//:", "//plain:"))
    source = Source()
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            link.client_of(get_settings().redis_url).connection_pool.disconnect()
            assert cache.get("k", ("x",), source) == "a"
            generations.forget()
    assert source.reads == 1
    assert [line["event"][:34] for line in lines] == ["redis does not tell its run id (IN"]
