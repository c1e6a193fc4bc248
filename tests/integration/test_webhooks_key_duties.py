"""Keys that no longer sign are forgotten in the end, and no others."""

import pytest

from agora.dispatcher.loop import all_duties
from agora.webhooks import key_duties, keys
from tests.support.webhooks import sql

pytestmark = pytest.mark.usefixtures("db", "quiet")
URL = "https://127.0.0.1/hook"


@pytest.fixture(autouse=True)
def _from_the_beginning(monkeypatch):
    monkeypatch.setattr(key_duties, "_reached", {"key": ""})


def expired(key, days):
    sql("UPDATE webhook_keys SET expires_at = now() - make_interval(days => :days) WHERE id = :id", id=key, days=days)


def there():
    return {row["id"] for row in sql("SELECT id FROM webhook_keys")}


def test_keys_that_expired_long_ago_are_forgotten(team):
    endpoint = team.endpoint(URL).endpoint
    old, lately, signs = (keys.add_key(endpoint.id, team_id=team.id).key.id for _ in range(3))
    shared, spare = (keys.add_key(None, team_id=team.id).key.id for _ in range(2))
    kept = there() - {old, shared}
    for key, days in ((old, 31), (lately, 29), (signs, -60), (shared, 31)):
        expired(key, days)
    assert key_duties.forget_expired_keys() == 0  # nothing that a tick would hurry for
    assert there() == kept >= {lately, signs, spare}


def test_it_goes_on_where_it_was_and_begins_anew(team, monkeypatch):
    monkeypatch.setattr(key_duties, "LOOKED_AT", 2)
    made = [keys.add_key(None, team_id=team.id).key.id for _ in range(4)]
    for one in made:
        expired(one, 31)
    left = []
    for _ in range(3):
        key_duties.forget_expired_keys()
        left.append(len(there()))
    assert left == [2, 0, 0]
    again = keys.add_key(None, team_id=team.id).key.id
    expired(again, 31)
    key_duties.forget_expired_keys()
    assert there() == set()


def test_the_dispatcher_does_so_every_minute():
    [found] = [one for one in all_duties() if one.do is key_duties.forget_expired_keys]
    assert found.every == 60
