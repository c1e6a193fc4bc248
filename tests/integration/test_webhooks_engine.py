"""The delivery engine: shared work, lost senders, drain, pauses, connections, TLS."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from agora import broker
from agora.clock import now
from agora.db.session import transaction
from agora.dispatcher import deliveries as duty
from agora.events.types import NewEvent
from agora.ids import new_id
from agora.settings import get_settings
from agora.webhooks import delivery_queries, service, vault
from agora.webhooks.fan_out_queries import fan_out
from tests.support.receiver import Receiver, hang, nul
from tests.support.webhooks import eventually, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")

QUICK = (0.0, 0.05, 0.05)
ROOT = Path(__file__).parents[2]


def test_two_engines_at_once_deliver_each_event_once(team, receiver, engines):
    team.endpoint(receiver.url("/hook"), max_in_flight=16)
    team.endpoint(receiver.url("/other"), max_in_flight=16)
    events = team.happen(count=100)
    for engine in (engines(), engines()):
        engine.start()
    eventually(lambda: team.statuses(statuses=("pending", "leased")) == [])
    wanted = sorted(event.id for event in events)
    for path in ("/hook", "/other"):
        assert sorted(got[0]["webhook-id"] for got in receiver.got[path]) == wanted
        assert receiver.most_under_way[path] <= 16
    assert sql("SELECT count(*) AS n FROM webhook_attempts")[0]["n"] == 200


def test_the_cap_of_an_endpoint_holds(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", hang), max_in_flight=3)
    sql("UPDATE webhook_endpoints SET last_success_at = now()")
    team.happen(count=20)
    for engine in (engines(), engines()):
        engine.start()
        eventually(lambda: receiver.under_way["/hook"] == 3)
        team.happen(count=5)  # makes the endpoint due again, although it is full
        engine.ring()
    eventually(lambda: sql("SELECT next_due_at FROM webhook_endpoints")[0]["next_due_at"] is None)
    assert receiver.most_under_way["/hook"] == 3


def test_two_claims_at_the_same_instant_share_no_endpoint(team):
    made = [team.endpoint(f"http://127.0.0.1:1/{n}", max_in_flight=2).endpoint.id for n in range(2)]
    team.happen(count=10)

    def claim(session, slice_):
        rows = delivery_queries.claim(session, room=20, slice_=slice_, token=new_id("evt"), lease=9)
        return [row["endpoint_id"] for row in rows]

    with transaction() as first, transaction() as second:
        assert claim(first, 1) == [made[0]] * 2
        assert claim(second, 2) == [made[1]] * 2
    with transaction() as third:
        assert claim(third, 2) == []


CLAIM_AND_DIE = """
import os
from agora.db.session import transaction
from agora.webhooks import delivery_queries
with transaction() as session:
    rows = delivery_queries.claim(session, room=10, slice_=10, token="gone", lease=1.0)
print(len(rows), flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_delivery_whose_sender_was_killed_is_sent_again_with_the_same_id(team, receiver, engines):
    team.endpoint(receiver.url("/hook"))
    [event] = team.happen()
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}
    killed = subprocess.run([sys.executable, "-c", CLAIM_AND_DIE], env=environment, capture_output=True, check=False)
    assert (killed.returncode, killed.stdout.strip()) == (-signal.SIGKILL, b"1"), killed.stderr
    assert team.statuses() == ["leased"]
    assert engines().run_once() == 0
    eventually(duty.return_lost, seconds=5)
    engines().run_once()
    [delivery] = team.deliveries()
    assert (delivery.status, delivery.attempt) == ("succeeded", 1)
    assert [got[0]["webhook-id"] for got in receiver.got["/hook"]] == [event.id]


def test_a_zombie_settles_nothing(team, receiver, engines):
    """An engine whose lease is lost while it sends: its answer comes too late, the next engine's counts."""

    async def steal(request):
        sql("UPDATE webhook_deliveries SET lease_token = 'another', last_error = 'stolen'")
        return await nul(request)

    team.endpoint(receiver.behave("/hook", steal))
    team.happen()
    engines().run_once()
    [delivery] = team.deliveries()
    assert (delivery.status, delivery.last_error, len(delivery.attempts)) == ("leased", "stolen", 0)


def test_a_delivery_whose_sender_is_always_lost_is_given_up(team, receiver):
    team.endpoint(receiver.url("/hook"))
    team.happen()
    sql(
        "UPDATE webhook_deliveries SET status = 'leased', attempt = 1, lost_leases = :lost, lease_token = 't',"
        " lease_expires_at = now() - interval '1 second'",
        lost=duty.LOST_LEASE_LIMIT - 1,
    )
    assert duty.return_lost() == 1
    [delivery] = team.deliveries()
    assert (delivery.status, delivery.last_error) == ("exhausted", "the sender was lost")


def test_one_hanging_endpoint_does_not_delay_another(team, receiver, engines):
    team.endpoint(receiver.behave("/slow", hang), max_in_flight=4)
    team.endpoint(receiver.url("/fast"))
    engine = engines(capacity=16)
    engine.start()
    team.happen(count=100)
    engine.ring()
    start = time.monotonic()
    eventually(lambda: len(receiver.got["/fast"]) == 100, seconds=5)
    assert time.monotonic() - start < 3
    assert receiver.most_under_way["/slow"] == 4


def test_an_endpoint_that_is_down_rests_without_spending_tries(team, engines):
    made = team.endpoint("http://127.0.0.1:1/closed", schedule=(0.0,) + (3600.0,) * 9).endpoint
    team.happen(count=60)
    engine = engines()
    for _ in range(10):
        engine.run_once()
    found = service.get_endpoint(made.id, team_id=team.id)
    assert found.open_until > now()
    assert found.failing_since is not None
    attempts = [one.attempt for one in team.deliveries()]
    assert 5 <= sum(attempts) <= 12
    assert max(attempts) == 1
    sql("UPDATE webhook_endpoints SET open_until = now(), next_due_at = now()")
    assert engine.run_once() == 1  # one probe


def test_a_running_engine_delivers_at_the_ring(team, receiver, engines):
    engine = engines()
    engine.start()
    team.endpoint(receiver.url("/hook"))
    for n in range(1, 6):
        team.happen()
        start = time.monotonic()
        engine.ring()
        eventually(lambda n=n: len(receiver.got["/hook"]) == n)
        assert receiver.got["/hook"][-1][2] - start < 0.5


def test_a_running_engine_tries_again_in_time_without_any_ring(team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500, 204), schedule=(0.0, 0.3))
    team.happen()
    engines().start()
    eventually(lambda: len(receiver.got["/hook"]) == 2)
    first, second = (got[2] for got in receiver.got["/hook"])
    assert 0.24 <= second - first < 1.5


def test_concurrent_fan_outs_are_all_delivered_soon(team, receiver, engines):
    """Fan-outs commit while claims empty the endpoint: none may be overlooked."""
    team.endpoint(receiver.url("/hook"))
    engine = engines()
    engine.start()

    def publish():
        for _ in range(50):
            team.happen()
            engine.ring()

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(receiver.got["/hook"]) == 200, seconds=4)
    eventually(lambda: team.statuses(statuses=("pending", "leased")) == [])
    assert len({got[0]["webhook-id"] for got in receiver.got["/hook"]}) == 200


def test_the_backstop_finds_what_no_endpoint_tells_of(team, receiver, engines, monkeypatch):
    rings = []
    monkeypatch.setattr(broker, "ring_deliveries", lambda: rings.append(1))
    monkeypatch.setattr(duty, "_last", {"marked": float("-inf"), "rung": float("-inf")})
    monkeypatch.setattr(duty, "reached", duty.Reached())
    team.endpoint(receiver.url("/hook"))
    team.happen()
    sql("UPDATE webhook_endpoints SET next_due_at = NULL")
    sql("UPDATE webhook_deliveries SET next_attempt_at = now() - interval '1 second'")
    assert engines().run_once() == 0
    duty.tend_deliveries()
    assert rings == [1]
    assert engines().run_once() == 1


def test_stopping_drains_what_is_under_way_and_gives_the_rest_back(team, receiver, engines):
    async def slowly(request):
        await asyncio.sleep(0.5)
        return await nul(request)

    team.endpoint(receiver.behave("/ends", slowly))
    team.endpoint(receiver.behave("/hangs", hang))
    team.happen()
    engine = engines(timeout=30.0)
    engine.start()
    eventually(lambda: receiver.under_way["/ends"] and receiver.under_way["/hangs"])
    start = time.monotonic()
    engine.stop(1.5)
    assert time.monotonic() - start < 5
    assert sorted((one.status, one.attempt) for one in team.deliveries()) == [("pending", 0), ("succeeded", 1)]
    engine.start()
    assert not engine._thread.is_alive()


def test_a_pause_while_a_try_is_under_way_holds_its_retry(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook"), schedule=QUICK).endpoint

    async def pause(request):
        service.pause_endpoint(made.id, team_id=team.id)
        return web.Response(status=500)

    receiver.behave("/hook", pause)
    team.happen()
    engines().run_once()
    assert team.statuses() == ["held"]


def test_deleting_an_endpoint_cancels_what_is_open(team, receiver, engines):
    made = team.endpoint(receiver.url("/hook")).endpoint
    team.happen(count=3)
    service.delete_endpoint(made.id, team_id=team.id)
    assert engines().run_once() == 0
    assert team.statuses(endpoint=made.id) == ["cancelled"] * 3


def test_a_process_with_another_key_fails_tries_and_says_why(team, receiver, engines, monkeypatch):
    team.endpoint(receiver.url("/hook"), schedule=(0.0,))
    team.happen()
    vault.unseal.cache_clear()
    monkeypatch.setenv("AGORA_SECRET_KEY", "another-another-another-another-another-")
    get_settings.cache_clear()
    try:
        engines().run_once()
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
        vault.unseal.cache_clear()
    [attempt] = team.deliveries()[0].attempts
    assert attempt.error_class == "secret"
    assert not receiver.got


def test_keep_alive_connections_are_reused_and_survive_being_closed(team, receiver, engines):
    team.endpoint(receiver.url("/hook"), schedule=(0.0,))
    engine = engines()
    engine.start()
    for n in range(1, 4):
        team.happen()
        engine.ring()
        eventually(lambda n=n: len(team.statuses(statuses=("succeeded",))) == n)
    connects = ["connect" in one.attempts[0].timings for one in team.deliveries()]
    assert connects == [True, False, False]


def test_no_transaction_is_open_while_a_receiver_is_called(team, receiver, engines):
    found = []

    async def look(request):
        found.extend(
            sql(
                "SELECT state, query FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND state <> 'idle' AND backend_type = 'client backend'"
            )
        )
        return await nul(request)

    team.endpoint(receiver.behave("/hook", look))
    team.happen()
    engines().run_once()
    assert team.statuses() == ["succeeded"]
    assert found == []


def certificate(tmp_path, *, name):
    """A self-signed certificate for one address; returns the server's context and the file of its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now() - timedelta(days=1))
        .not_valid_after(now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, path


def test_tls_is_verified_against_the_name_and_a_trusted_authority(team, engines, tmp_path):
    async def look_up(host, port):
        return ["127.0.0.1"]

    server, path = certificate(tmp_path, name="receiver.test")
    trusted = ssl.create_default_context(cafile=path)
    secure = Receiver(ssl=server)
    try:
        team.endpoint(f"https://receiver.test:{secure.port}/right", schedule=(0.0,))
        team.endpoint(f"https://wrong.test:{secure.port}/wrong", schedule=(0.0,))
        team.happen()
        engines(look_up=look_up, ssl=trusted).run_once()
        of_job = {"event_type": "job.succeeded"}
        results = sorted((one.status, one.attempts[0].error_class) for one in team.deliveries(**of_job))
        assert results == [("exhausted", "tls"), ("succeeded", None)]
        team.happen()
        engines(look_up=look_up).run_once()
        assert [one.attempts[0].error_class for one in team.deliveries(**of_job)[2:]] == ["tls", "tls"]
        assert list(secure.got) == ["/right"]
        assert len(secure.got["/right"]) == 1
    finally:
        secure.close()


def test_an_event_that_was_being_recorded_when_its_endpoint_was_deleted_is_not_left_open(team, receiver):
    made = team.endpoint(receiver.url("/hook")).endpoint
    other = team.endpoint(receiver.url("/other")).endpoint
    event = NewEvent(type="job.failed", data={})
    with transaction() as session:
        fan_out(session, team_id=team.id, job_id=None, agent="a", events=[event], occurred_at=now())
        # The delete sees nothing of it, and waits for nothing: it is as if it had committed just before.
        session.execute(text("DELETE FROM webhook_endpoints WHERE id = :id"), {"id": made.id})
    assert team.statuses() == ["pending", "pending"]
    assert duty.cancel_orphans() == 1
    assert {one.endpoint_id: one.status for one in team.deliveries()} == {made.id: "cancelled", other.id: "pending"}
    assert duty.cancel_orphans() == 0
