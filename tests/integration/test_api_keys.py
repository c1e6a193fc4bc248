"""API keys over HTTP: shown once, revoked, expired, and looked up once however many requests bring them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from agora.clock import now
from agora.identity import service as identity
from tests.support.caller import Caller


def test_keys_are_shown_once_and_can_be_revoked(app, caller):
    made = caller.post("/api/v1/keys", json={"name": "ci", "scopes": ["jobs:read"]}).json
    assert made["secret"].startswith("agora_")
    assert "secret" not in caller.get("/api/v1/keys").json["items"][0]
    other = app.test_client()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert other.get("/api/v1/jobs", headers=headers).status_code == 200
    assert caller.delete(f"/api/v1/keys/{made['id']}").status_code == 204
    assert other.get("/api/v1/jobs", headers=headers).status_code == 401
    assert caller.delete(f"/api/v1/keys/{made['id']}").status_code == 404
    weak = Caller(app, scopes=("keys:manage",))
    assert weak.post("/api/v1/keys", json={"name": "more", "scopes": ["*"]}).status_code == 403


def test_many_requests_with_one_key_look_it_up_once(caller, monkeypatch):
    looked, look_up = [], identity._look_up

    def slow(digest):
        looked.append(digest)
        arrived.wait(5)  # until the others are there
        return look_up(digest)

    monkeypatch.setattr(identity, "_look_up", slow)
    identity._remembered.clear()
    arrived, found = threading.Event(), []
    threads = [
        threading.Thread(target=lambda: found.append(identity.authenticate(caller.key).team_id)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    arrived.set()
    for thread in threads:
        thread.join(10)
    assert found == [caller.team_id] * 8
    assert len(looked) == 1


def test_an_expired_key_is_refused(app, caller, db):
    made = identity.create_key(caller.team_id, "short", expires_at=now() + timedelta(seconds=30))
    with identity.transaction("auth") as session:
        row = identity.queries.list_keys(session, team_id=caller.team_id)[0]
        row.expires_at = now() - timedelta(seconds=1)
    headers = {"Authorization": f"Bearer {made.plain}"}
    assert app.test_client().get("/api/v1/jobs", headers=headers).status_code == 401


def test_a_key_is_rotated_with_an_overlap(app, caller):
    made = caller.post("/api/v1/keys", json={"name": "ci", "scopes": ["jobs:read"]}).json
    fresh = caller.post(f"/api/v1/keys/{made['id']}/rotate", json={"overlap_seconds": 60})
    assert fresh.status_code == 201
    assert (fresh.json["name"], fresh.json["scopes"]) == ("ci", ["jobs:read"])
    assert fresh.json["secret"] not in {None, made["secret"]}

    def status_of(key):
        return app.test_client().get("/api/v1/jobs", headers={"Authorization": f"Bearer {key['secret']}"}).status_code

    assert (status_of(made), status_of(fresh.json)) == (200, 200)
    ended = caller.post(f"/api/v1/keys/{fresh.json['id']}/rotate", json={"overlap_seconds": 0}).json
    assert (status_of(fresh.json), status_of(ended)) == (401, 200)
    assert caller.post(f"/api/v1/keys/{fresh.json['id']}/rotate", json={}).status_code == 404
    assert caller.post(f"/api/v1/keys/{ended['id']}/rotate", json={"overlap_seconds": -1}).status_code == 422
    [old] = [one for one in caller.get("/api/v1/keys").json["items"] if one["id"] == made["id"]]
    assert 0 < (datetime.fromisoformat(old["expires_at"]) - now()).total_seconds() <= 60


def test_nobody_rotates_a_key_that_may_more_than_themselves_or_is_another_teams(app, caller):
    strong = caller.post("/api/v1/keys", json={"name": "all", "scopes": ["*"]}).json
    weak = Caller(app, scopes=("keys:manage",))
    assert weak.post(f"/api/v1/keys/{strong['id']}/rotate", json={}).status_code == 403
    assert Caller(app, team="other").post(f"/api/v1/keys/{strong['id']}/rotate", json={}).status_code == 404


# --- until when


def status_of(app, key):
    return app.test_client().get("/api/v1/jobs", headers={"Authorization": f"Bearer {key['secret']}"}).status_code


def test_however_often_a_key_is_rotated_the_new_one_lives_as_long_as_it_was_to(caller):
    until = (now() + timedelta(days=90)).replace(microsecond=0)
    for meant in (None, until):
        more = {} if meant is None else {"expires_at": meant.isoformat()}
        made = caller.post("/api/v1/keys", json={"name": "ci", "scopes": ["jobs:read"]} | more).json
        for overlap in (60, 3600, 30):
            fresh = caller.post(f"/api/v1/keys/{made['id']}/rotate", json={"overlap_seconds": overlap}).json
            told = fresh["expires_at"]
            assert (None if told is None else datetime.fromisoformat(told)) == meant
        old = caller.get(f"/api/v1/keys/{made['id']}").json
        assert 0 < (datetime.fromisoformat(old["expires_at"]) - now()).total_seconds() <= 30  # none makes it longer


def test_a_key_near_its_end_is_renewed(app, caller):
    soon, later = (now().replace(microsecond=0) + timedelta(days=days) for days in (1, 365))
    made = caller.post(
        "/api/v1/keys", json={"name": "ci", "scopes": ["jobs:read"], "expires_at": soon.isoformat()}
    ).json
    path = f"/api/v1/keys/{made['id']}/rotate"
    for wrong in ((now() - timedelta(seconds=1)).isoformat(), "soon", None):
        assert caller.post(path, json={"expires_at": wrong}).status_code == 422
    fresh = caller.post(path, json={"expires_at": later.isoformat(), "overlap_seconds": 10 * 24 * 3600})
    assert (fresh.status_code, datetime.fromisoformat(fresh.json["expires_at"])) == (201, later)
    old = caller.get(f"/api/v1/keys/{made['id']}").json
    assert datetime.fromisoformat(old["expires_at"]) == soon
    assert status_of(app, fresh.json) == 200


# --- made by keys that expire


class Expiring:
    """A caller whose key, made by the operator, ends in a day."""

    def __init__(self, app, team_id):
        self.until = (now() + timedelta(days=1)).replace(microsecond=0)
        made = identity.create_key(team_id, "short", expires_at=self.until)
        self.id, self._client = made.id, app.test_client()
        self._headers = {"Authorization": f"Bearer {made.plain}"}

    def post(self, path, **body):
        """The answer, and when the key in it ends."""
        answered = self._client.post(path, json=body, headers=self._headers)
        until = answered.json.get("expires_at")
        return answered, datetime.fromisoformat(until) if until else None

    def makes(self, **body):
        return self.post("/api/v1/keys", name="made", scopes=["*"], **body)


def is_too_late(answered, until):
    [told] = answered.json["errors"]
    assert (told["pointer"], told["rule"]) == ("/expires_at", "range")
    assert until.isoformat() in told["message"]
    return answered.status_code == 422


def test_a_key_makes_none_that_lives_longer(app, caller):
    maker = Expiring(app, caller.team_id)
    earlier, later = maker.until - timedelta(hours=1), maker.until + timedelta(seconds=1)
    for more, until in (({}, maker.until), ({"expires_at": None}, maker.until),
                        ({"expires_at": maker.until.isoformat()}, maker.until),
                        ({"expires_at": earlier.isoformat()}, earlier)):  # fmt: skip
        answered, told = maker.makes(**more)
        assert (answered.status_code, told) == (201, until)
    assert is_too_late(maker.makes(expires_at=later.isoformat())[0], maker.until)
    assert caller.post("/api/v1/keys", json={"name": "long", "scopes": ["*"]}).json["expires_at"] is None


def test_a_key_rotates_none_into_one_that_lives_longer_not_even_itself(app, caller):
    maker = Expiring(app, caller.team_id)
    unlimited = identity.create_key(caller.team_id, "long").id
    earlier = maker.until - timedelta(hours=1)
    short = identity.create_key(caller.team_id, "shorter", expires_at=earlier).id
    for one in (unlimited, short, maker.id):
        answered, _ = maker.post(f"/api/v1/keys/{one}/rotate", expires_at="2999-01-01T00:00:00Z")
        assert is_too_late(answered, maker.until)
    for one, until in ((unlimited, maker.until), (short, earlier), (maker.id, maker.until)):
        answered, told = maker.post(f"/api/v1/keys/{one}/rotate")
        assert (answered.status_code, told) == (201, until)


def test_of_a_key_that_is_rotated_counts_how_long_it_was_to_live(app, caller):
    """Not the overlap: whoever changes over makes no shorter keys meanwhile."""
    maker = Expiring(app, caller.team_id)
    identity.rotate_key(caller.team_id, maker.id, overlap=60)
    assert maker.makes()[1] == maker.until
    assert is_too_late(maker.makes(expires_at="2999-01-01T00:00:00Z")[0], maker.until)


# --- repeats


def test_a_repeat_makes_no_second_key_and_does_not_show_the_text_again(app, caller):
    body, once = {"name": "ci", "scopes": ["jobs:read"]}, {"Idempotency-Key": "one"}
    first, again = (caller.post("/api/v1/keys", json=body, headers=once) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert again.json == {name: value for name, value in first.json.items() if name != "secret"}
    assert [one["name"] for one in caller.get("/api/v1/keys").json["items"]] == ["ci", "k"]
    other = caller.post("/api/v1/keys", json=body | {"name": "other"}, headers=once)
    assert (other.status_code, other.json["code"]) == (422, "idempotency-key-reused")
    assert Caller(app, team="other").post("/api/v1/keys", json=body, headers=once).json["id"] != first.json["id"]
    older = {"Agora-Version": "2026-11-23"} | once
    assert "plain" not in caller.post("/api/v1/keys", json=body, headers=older).json


def test_a_repeated_rotation_rotates_once_also_when_the_old_key_has_ended_by_it(app, caller):
    made = caller.post("/api/v1/keys", json={"name": "ci", "scopes": ["jobs:read"]}).json
    path, once = f"/api/v1/keys/{made['id']}/rotate", {"Idempotency-Key": "one"}
    first, again = (caller.post(path, json={"overlap_seconds": 0}, headers=once) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json["id"], again.headers["Idempotent-Replayed"]) == (first.json["id"], "true")
    assert "secret" not in again.json
    assert status_of(app, first.json) == 200
    assert caller.post(path, json={"overlap_seconds": 0}).status_code == 404


def test_repeats_that_come_at_once_make_one_key(caller):
    def make(_):
        return caller.post(
            "/api/v1/keys", json={"name": "ci", "scopes": ["jobs:read"]}, headers={"Idempotency-Key": "one"}
        ).json

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(make, range(4)))
    assert len({one["id"] for one in made}) == 1
    assert len([one for one in made if "secret" in one]) == 1


def test_what_is_refused_takes_no_idempotency_key(app, caller):
    weak, once = Caller(app, scopes=("keys:manage",)), {"Idempotency-Key": "one"}
    body = {"name": "ci", "scopes": ["jobs:read"]}
    assert weak.post("/api/v1/keys", json=body, headers=once).status_code == 403
    assert caller.post("/api/v1/keys", json=body, headers=once).json["secret"]
