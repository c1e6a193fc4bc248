"""Signing keys of endpoints and of teams: several at once, rotated with an overlap, revoked, encrypted anew."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from agora import crypto
from agora.db.session import transaction
from agora.errors import Conflict, Invalid, NotFound, SettingsError
from agora.ids import new_id
from agora.settings import get_settings
from agora.webhooks import keys, service, signing, vault
from agora.webhooks.signing import VerificationFailed
from agora.webhooks.types import InlineWebhook, NewEndpoint
from tests.support.locks import until_waiting
from tests.support.webhooks import Team, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")
OLD, NEW = "o" * 40, "n" * 40


def last(receiver, path="/hook"):
    headers, body, *_ = receiver.got[path][-1]
    return {name.lower(): value for name, value in headers.items()}, body


def kinds(receiver, path="/hook"):
    return [one.partition(",")[0] for one in last(receiver, path)[0]["webhook-signature"].split(" ")]


def deliver(team, engine):
    team.happen()
    assert engine.run_once() == 1


def test_v1_and_v1a_sign_side_by_side(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook"))
    pair = keys.add_key(made.endpoint.id, team_id=team.id, algorithm="v1a")
    deliver(team, engines())
    headers, body = last(receiver)
    assert kinds(receiver) == ["v1a", "v1"]
    Webhook(made.secret).verify(body, headers)
    signing.verify(headers, body, pair.key.public_key)
    listed = keys.list_keys(made.endpoint.id, team_id=team.id)
    assert [(one.algorithm, one.public_key) for one in listed] == [("v1a", pair.key.public_key), ("v1", None)]


def test_an_endpoint_may_begin_with_a_v1a_key(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook"), algorithm="v1a")
    assert made.secret.startswith("whsk_")
    deliver(team, engines())
    headers, body = last(receiver)
    assert kinds(receiver) == ["v1a"]
    signing.verify(headers, body, keys.list_keys(made.endpoint.id, team_id=team.id)[0].public_key)


def test_after_a_rotation_both_secrets_verify_until_the_overlap_ends(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook"))
    anew = keys.rotate_key(made.endpoint.id, team_id=team.id, overlap=3600)
    deliver(team, engines())
    headers, body = last(receiver)
    assert kinds(receiver) == ["v1", "v1"]
    for secret in (made.secret, anew.secret):
        Webhook(secret).verify(body, headers)
    sql("UPDATE webhook_keys SET expires_at = now() WHERE expires_at IS NOT NULL")
    deliver(team, engines())
    headers, body = last(receiver)
    Webhook(anew.secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(made.secret).verify(body, headers)


def test_a_rotation_without_overlap_and_a_revoked_key_end_the_old_secret_at_once(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook"))
    second = keys.rotate_key(made.endpoint.id, team_id=team.id, overlap=0)
    deliver(team, engines())
    headers, body = last(receiver)
    Webhook(second.secret).verify(body, headers)
    with pytest.raises(VerificationFailed):
        signing.verify(headers, body, made.secret)
    third = keys.rotate_key(made.endpoint.id, team_id=team.id)
    keys.revoke_key(made.endpoint.id, second.key.id, team_id=team.id)
    deliver(team, engines())
    assert kinds(receiver) == ["v1"]
    Webhook(third.secret).verify(last(receiver)[1], last(receiver)[0])


def test_a_rotation_concerns_its_own_algorithm_and_prolongs_nothing(team, receiver):
    made = team.endpoint(receiver.url("/hook"))
    keys.add_key(made.endpoint.id, team_id=team.id, algorithm="v1a")
    keys.rotate_key(made.endpoint.id, team_id=team.id, overlap=60)
    before = {one.id: one.expires_at for one in keys.list_keys(made.endpoint.id, team_id=team.id)}
    assert [one.algorithm for one in keys.list_keys(made.endpoint.id, team_id=team.id) if one.expires_at] == ["v1"]
    keys.rotate_key(made.endpoint.id, team_id=team.id, overlap=3600)
    after = {one.id: one.expires_at for one in keys.list_keys(made.endpoint.id, team_id=team.id)}
    [short] = [id_ for id_, end in before.items() if end]
    assert after[short] == before[short]


def test_own_secrets_of_both_kinds_are_taken(team, receiver):
    made = team.endpoint(receiver.url("/hook"))
    for own in (f"whsec_{base64.b64encode(bytes(64)).decode()}", f"whsk_{base64.b64encode(bytes(range(32))).decode()}"):
        assert keys.add_key(made.endpoint.id, team_id=team.id, secret=own).secret == own
        with pytest.raises(Conflict, match="already"):
            keys.add_key(made.endpoint.id, team_id=team.id, secret=own)


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"secret": "whsec_" + base64.b64encode(bytes(23)).decode()}, "/secret"),
        ({"secret": "topsecret"}, "/secret"),
        ({"algorithm": "v2"}, "/algorithm"),
        ({"algorithm": "v1a", "secret": "whsec_" + base64.b64encode(bytes(32)).decode()}, "/algorithm"),
        ({"overlap": -1}, "/overlap"),
        ({"overlap": float("nan")}, "/overlap"),
        ({"overlap": 1e9}, "/overlap"),
    ],
)
def test_wrong_keys_are_refused_and_change_nothing(team, receiver, given, pointer):
    made = team.endpoint(receiver.url("/hook"))
    before = keys.list_keys(made.endpoint.id, team_id=team.id)
    with pytest.raises(Invalid) as caught:
        keys.rotate_key(made.endpoint.id, team_id=team.id, **given)
    assert [one.pointer for one in caught.value.errors] == [pointer]
    assert "topsecret" not in str(caught.value)
    assert keys.list_keys(made.endpoint.id, team_id=team.id) == before


def test_the_last_key_stays_and_ten_are_enough(team, receiver):
    made = team.endpoint(receiver.url("/hook"))
    [only] = keys.list_keys(made.endpoint.id, team_id=team.id)
    with pytest.raises(Conflict, match="only key"):
        keys.revoke_key(made.endpoint.id, only.id, team_id=team.id)
    anew = keys.rotate_key(made.endpoint.id, team_id=team.id)
    with pytest.raises(Conflict, match="only key"):
        keys.revoke_key(made.endpoint.id, anew.key.id, team_id=team.id)  # the old one signs for a day only
    for _ in range(8):
        keys.add_key(made.endpoint.id, team_id=team.id)
    with pytest.raises(Conflict, match="10 keys"):
        keys.add_key(made.endpoint.id, team_id=team.id)


def test_another_team_finds_nothing(team, receiver):
    made, stranger = team.endpoint(receiver.url("/hook")), Team().id
    [only] = keys.list_keys(made.endpoint.id, team_id=team.id)
    for attempt in (
        lambda: keys.list_keys(made.endpoint.id, team_id=stranger),
        lambda: keys.add_key(made.endpoint.id, team_id=stranger),
        lambda: keys.rotate_key(made.endpoint.id, team_id=stranger),
        lambda: keys.revoke_key(made.endpoint.id, only.id, team_id=stranger),
        lambda: keys.revoke_key(None, only.id, team_id=team.id),
    ):
        with pytest.raises(NotFound):
            attempt()


def inline(team, url, **options):
    job_id = new_id("job")
    with transaction() as session:
        webhook = InlineWebhook(url=url, events=("job.succeeded",), **options)
        secret = service.create_inline(session, team_id=team.id, job_id=job_id, webhook=webhook)
    return job_id, secret


def test_the_teams_own_key_signs_webhooks_of_jobs_that_bring_no_secret(team, receiver, engines):
    _, made_for_one = inline(team, receiver.url("/hook"))
    assert made_for_one.startswith("whsec_")
    shared = keys.add_key(None, team_id=team.id)
    job_id, secret = inline(team, receiver.url("/hook"))
    assert secret is None
    team.happen(job_id=job_id)
    engines().run_once()
    Webhook(shared.secret).verify(last(receiver)[1], last(receiver)[0])
    own = signing.generate().text
    job_id, secret = inline(team, receiver.url("/hook"), secret=own)
    assert secret is None
    team.happen(job_id=job_id)
    engines().run_once()
    Webhook(own).verify(last(receiver)[1], last(receiver)[0])


def test_the_teams_last_key_stays_while_jobs_rely_on_it_and_nothing_goes_out_unsigned(team, receiver, engines):
    shared = keys.add_key(None, team_id=team.id)
    job_id, _ = inline(team, receiver.url("/hook"))
    with pytest.raises(Conflict, match="only key"):
        keys.revoke_key(None, shared.key.id, team_id=team.id)
    sql("DELETE FROM webhook_keys")  # whoever does it all the same
    team.happen(job_id=job_id)
    engines().run_once()
    [delivery] = team.deliveries()
    assert (delivery.status, delivery.attempts[0].error_class) == ("pending", "secret")
    assert receiver.got["/hook"] == []


def test_an_endpoint_that_the_team_signs_for_gets_no_key_that_would_never_sign(team, receiver):
    keys.add_key(None, team_id=team.id)
    job_id, _ = inline(team, receiver.url("/hook"))
    [endpoint] = service.list_endpoints(team_id=team.id, job_id=job_id).items
    for refused in (keys.add_key, keys.rotate_key):
        with pytest.raises(Conflict, match="the team's keys sign"):
            refused(endpoint.id, team_id=team.id)
    assert keys.list_keys(endpoint.id, team_id=team.id) == []
    own, _ = inline(team, receiver.url("/hook"), secret=signing.generate().text)
    [endpoint] = service.list_endpoints(team_id=team.id, job_id=own).items
    assert keys.rotate_key(endpoint.id, team_id=team.id).secret


def test_the_teams_last_key_stays_while_a_job_that_relies_on_it_is_being_submitted(team, receiver):
    shared = keys.add_key(None, team_id=team.id)
    webhook = InlineWebhook(url=receiver.url("/hook"), events=("job.succeeded",))
    with ThreadPoolExecutor(1) as beside:
        with transaction() as session, transaction() as other:
            for one in (session, other):  # two that are submitted at once do not wait for each other
                assert service.create_inline(one, team_id=team.id, job_id=new_id("job"), webhook=webhook) is None
            revoked = beside.submit(keys.revoke_key, None, shared.key.id, team_id=team.id)
            until_waiting()
        with pytest.raises(Conflict, match="only key"):
            revoked.result(30)
    assert [one.id for one in keys.list_keys(None, team_id=team.id)] == [shared.key.id]


def test_everything_at_rest_is_encrypted_anew_while_it_is_in_use(team, receiver, engines, monkeypatch):
    def settings(key, old=""):
        monkeypatch.setenv("AGORA_SECRET_KEY", key)
        monkeypatch.setenv("AGORA_SECRET_KEY_OLD", old)
        get_settings.cache_clear()
        vault.unseal.cache_clear()
        vault._key.cache_clear()

    settings(OLD)
    made = [team.endpoint(receiver.url("/hook"), headers={"X-Token": f"t{n}"}) for n in range(3)]
    settings(NEW)
    with pytest.raises(SettingsError, match="AGORA_SECRET_KEY"):
        keys.rekey()
    settings(NEW, old=f"{'x' * 40},{OLD}")
    deliver_to_all(team, engines, made, receiver)
    assert keys.rekey() == {"keys": 3, "headers": 3}
    assert keys.rekey() == {"keys": 0, "headers": 0}
    settings(NEW)
    deliver_to_all(team, engines, made, receiver)
    assert {last(receiver)[0]["x-token"]} <= {"t0", "t1", "t2"}
    settings(OLD)
    with pytest.raises(SettingsError):
        crypto.decrypt(sql("SELECT sealed FROM webhook_keys LIMIT 1")[0]["sealed"].encode())
    get_settings.cache_clear()


def deliver_to_all(team, engines, made, receiver):
    before = len(receiver.got["/hook"])
    team.happen()
    assert engines().run_once() == len(made)
    for headers, body, *_ in receiver.got["/hook"][before:]:
        given = {name.lower(): value for name, value in headers.items()}
        assert sum(verifies(given, body, one.secret) for one in made) == 1


def verifies(headers, body, secret):
    try:
        signing.verify(headers, body, secret)
    except VerificationFailed:
        return False
    return True


def test_keys_over_http(caller):
    made = caller.post("/api/v1/webhook-endpoints", json={"url": "https://receiver.test/hook", "uid": "one"}).json
    base = "/api/v1/webhook-endpoints/one/keys"
    assert made["secret"] not in caller.get(base).text
    added = caller.post(base, json={"algorithm": "v1a"})
    assert (added.status_code, added.json["secret"][:5], added.json["public_key"][:5]) == (201, "whsk_", "whpk_")
    rotated = caller.post("/api/v1/webhook-endpoints/one/key-rotations", json={"overlap_seconds": 60})
    assert (rotated.status_code, rotated.json["algorithm"], rotated.json["expires_at"]) == (201, "v1", None)
    listed = caller.get(base).json["items"]
    assert [(one["algorithm"], one["expires_at"] is None) for one in listed] == [
        ("v1", True), ("v1a", True), ("v1", False),
    ]  # fmt: skip
    assert all("secret" not in one for one in listed)
    assert caller.delete(f"{base}/{listed[2]['id']}").status_code == 204
    assert caller.delete(f"{base}/{listed[2]['id']}").status_code == 404
    assert len(caller.get(base).json["items"]) == 2
    assert caller.post(base, json={"secret": "whsec_short"}).json["errors"][0]["pointer"] == "/secret"
    assert caller.post("/api/v1/webhook-keys").status_code == 201
    assert caller.post("/api/v1/webhook-key-rotations", json={"overlap_seconds": 0}).status_code == 201
    [own] = caller.get("/api/v1/webhook-keys").json["items"]
    assert caller.delete(f"/api/v1/webhook-keys/{own['id']}").status_code == 204


def test_expiry_is_that_of_the_database(team, receiver):
    made = team.endpoint(receiver.url("/hook"))
    keys.rotate_key(made.endpoint.id, team_id=team.id, overlap=0.05)
    end = time.monotonic() + 5
    while len(keys.list_keys(made.endpoint.id, team_id=team.id)) > 1 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(keys.list_keys(made.endpoint.id, team_id=team.id)) == 1


def test_a_deleted_endpoint_takes_its_keys_with_it(team):
    made = service.create_endpoint(NewEndpoint(url="https://receiver.test/"), team_id=team.id)
    service.delete_endpoint(made.endpoint.id, team_id=team.id)
    assert sql("SELECT count(*) AS n FROM webhook_keys")[0]["n"] == 0


def test_a_repeated_create_makes_no_second_endpoint_or_key_and_shows_no_secret_again(caller):
    once = {"Idempotency-Key": "once"}
    base = "/api/v1/webhook-endpoints"
    body = {"url": "https://receiver.test/hook"}
    made, again = (caller.post(base, json=body, headers=once) for _ in range(2))
    assert (made.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json == made.json | {"secret": None}
    assert len(caller.get(base).json["items"]) == 1
    assert caller.post(base, json={"url": "https://other.test/"}, headers=once).json["code"] == "idempotency-key-reused"
    keys_of = f"{base}/{made.json['id']}/keys"
    for path, count in ((keys_of, 2), (f"{base}/{made.json['id']}/key-rotations", 3)):
        first, second = (caller.post(path, json={}, headers=once) for _ in range(2))
        assert (first.json["secret"] is None, second.json) == (False, first.json | {"secret": None})
        assert len(caller.get(keys_of).json["items"]) == count
