"""API keys over HTTP: shown once, revoked, expired, and looked up once however many requests bring them."""

import threading
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
