"""What processes remember: a write is seen by the next read in every other one, and nothing stale is ever trusted."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from prometheus_client import REGISTRY

from agora import broker
from agora.caching import generations, link
from agora.caching.cache import Cache, forget_all
from agora.caching.generations import CATALOGUE, PREFIX, changed, changing
from agora.cli import common, run
from agora.db.session import transaction
from agora.identity import members, operators, sessions
from agora.identity import service as identity
from agora.identity.models import MemberRow
from agora.identity.roles import Role
from agora.jobs import catalogue, service
from agora.quotas import queries, tiers
from agora.settings import environment
from agora.teams.erase import erase_team
from tests.support import people
from tests.support.caller import Caller
from tests.support.people import Browser
from tests.support.probes import Number, agent_with
from tests.support.reading import Here, Process, Source

pytestmark = pytest.mark.usefixtures("as_many_processes")
JOBS, QUOTAS, AGENTS = "/api/v1/jobs", "/api/v1/quotas", "/api/v1/agents"
AWAY = "redis://127.0.0.1:1/0"


@pytest.fixture
def others(app, monkeypatch):
    """Two processes that serve the API, of which this one writes: past the API, and it tells itself nothing."""
    monkeypatch.setattr(broker, "ring", lambda rings: True)
    made = Process(environment())
    made.wait()
    yield [made, Here(app)]
    made.stop()


def everywhere(others, path, token, **options):
    return [one.ask(path, token, **options)["status"] for one in others]


def version_of(others, agent, key):
    body = {"agent": agent, "action": "job", "input": {"n": 1}}
    return [one.ask(JOBS, key, method="POST", body=body)["json"]["version"] for one in others]


def test_a_write_is_seen_by_the_next_read_in_every_process(app, others, monkeypatch):
    """One test for all that is remembered, as starting the processes is what takes time."""
    caller = Caller(app)
    browser = Browser(app, people.sign_up())
    browser.team = browser.post("/api/v1/teams", json={"name": "Acme"}).json["id"]
    guest_person = people.sign_up()
    guest = Browser(app, guest_person)
    with transaction("auth") as session:
        session.add(MemberRow(team_id=browser.team, user_id=guest_person.id, role=Role.DEVELOPER))
    token = guest.tokens["access_token"]

    # the tier, and what it allows
    assert everywhere(others, QUOTAS, caller.key) == [200, 200]
    for rate in (40, 50, 60):
        tiers.move_team("t", None, {"requests_per_minute": rate})
        told = [one.ask(QUOTAS, caller.key)["headers"]["RateLimit-Policy"] for one in others]
        assert told == [f'"team";q={rate};w=60'] * 2
    tiers.move_team("t", None, {"requests_per_minute": None})

    # the catalogue
    agent = agent_with(job=[lambda _: Number()])
    actions = list(agent.actions.values())
    catalogue.register_worker(actions, worker_id="wrk_1", hostname="here", pid=1)
    assert version_of(others, agent.name, caller.key) == [1, 1]
    with changing(CATALOGUE), transaction() as session:
        spec = actions[0].spec
        catalogue.queries.upsert_version(
            session, spec=catalogue.as_json(spec), fingerprint="f", agent=spec.agent, action=spec.action, version=2,
            description="", agent_description="",
        )  # fmt: skip
    assert version_of(others, agent.name, caller.key) == [2, 2]

    # a role, a membership, a session
    write = {"method": "POST", "body": {}, "team": browser.team}
    assert everywhere(others, JOBS, token, **write) == [422, 422]
    members.change_role(browser.team, guest_person.id, Role.VIEWER)
    assert everywhere(others, JOBS, token, **write) == [403, 403]
    members.change_role(browser.team, guest_person.id, Role.LEAD)
    assert everywhere(others, JOBS, token, **write) == [422, 422]
    members.remove_member(browser.team, guest_person.id)
    assert everywhere(others, JOBS, token, **write) == [404, 404]
    assert everywhere(others, JOBS, token) == [200, 200]
    sessions.end(guest.tokens["session_id"], user_id=guest_person.id)
    assert everywhere(others, JOBS, token) == [401, 401]
    mine = browser.tokens["access_token"]
    assert everywhere(others, JOBS, mine) == [200, 200]
    operators.set_disabled(browser.get("/api/v1/me").json["email"], disabled=True)
    assert everywhere(others, JOBS, mine) == [401, 401]

    # a key: rotated, revoked, its team erased
    made = identity.create_key(caller.team_id, "a")
    assert everywhere(others, JOBS, made.plain) == [200, 200]
    fresh = identity.rotate_key(caller.team_id, made.id, overlap=0)
    assert everywhere(others, JOBS, made.plain) == [401, 401]
    assert everywhere(others, JOBS, fresh.plain) == [200, 200]
    identity.revoke_key(caller.team_id, fresh.id)
    assert everywhere(others, JOBS, fresh.plain) == [401, 401]
    assert everywhere(others, JOBS, caller.key) == [200, 200]
    erase_team("t")
    assert everywhere(others, JOBS, caller.key) == [401, 401]


# --- one cache


def test_a_value_is_read_once_until_its_tag_changes(cache):
    source = Source()
    assert [cache.get("k", ("x", "y"), source) for _ in range(3)] == ["a"] * 3
    assert source.reads == 1
    source.value = "b"
    changed("z")
    assert cache.get("k", ("x", "y"), source) == "a"
    changed("y")
    assert cache.get("k", ("x", "y"), source) == "b"


def test_nothing_that_is_read_while_somebody_writes_is_kept(cache):
    """Also should the writer die between its commit and its word: the mark stays, longer than anything is kept."""
    source = Source()
    cache.get("k", ("x",), source)
    with changing("x"):
        assert [cache.get("k", ("x",), source) for _ in range(2)] == ["a", "a"]
        assert source.reads == 3
        source.value = "b"
    assert [cache.get("k", ("x",), source) for _ in range(2)] == ["b", "b"]
    assert source.reads == 4
    assert 2 * max(identity.REMEMBER_SECONDS, tiers.KEEP_SECONDS, catalogue.LATEST_SECONDS) < generations.MARK_SECONDS
    assert generations.TAG_SECONDS > generations.MARK_SECONDS


def test_while_redis_is_away_each_reads_anew(cache, db, setting):
    source = Source()
    cache.get("k", ("x",), source)
    setting("REDIS_URL", AWAY)
    generations.forget()  # what was heard just now holds a moment longer
    source.value = "b"
    assert [cache.get("k", ("x",), source) for _ in range(2)] == ["b", "b"]
    setting("REDIS_URL", db["REDIS_URL"])
    assert cache.get("k", ("x",), source) == "b"


def test_what_was_heard_holds_for_a_moment_and_a_writer_waits_until_it_does_not(cache, monkeypatch):
    source, asked = Source(), []
    read = generations.read
    monkeypatch.setattr(generations, "read", lambda tags: asked.append(1) or read(tags))
    monkeypatch.setattr(generations, "LEASE_SECONDS", 30.0)
    assert [cache.get("k", ("x",), source) for _ in range(5)] == ["a"] * 5
    assert len(asked) == 1
    waited = []
    monkeypatch.setattr(generations.time, "sleep", waited.append)
    changed("x")
    assert waited == [30.0]


def test_a_writer_that_does_not_reach_redis_makes_up_for_it(cache, db, setting):
    source = Source()
    cache.get("k", ("x",), source)
    setting("REDIS_URL", AWAY)
    with changing("x"):
        source.value = "b"
    setting("REDIS_URL", db["REDIS_URL"])
    assert cache.get("k", ("x",), source) == "b"


def test_what_is_owed_anew_while_it_is_made_up_for_is_owed_still(cache, db, setting, monkeypatch):
    setting("REDIS_URL", AWAY)
    changed("x")
    setting("REDIS_URL", db["REDIS_URL"])
    write = generations._set

    def another_fails_meanwhile(*arguments):
        write(*arguments)
        generations._owed["x"] = object()

    with monkeypatch.context() as patch:
        patch.setattr(generations, "_set", another_fails_meanwhile)
        generations.make_up()
    assert set(generations._owed) == {"x"}
    assert generations.settle(0.0)
    assert not generations._owed


def test_nobody_trusts_what_is_owed_while_another_makes_up_for_it(cache, db, setting, monkeypatch):
    """The first request after an outage tells of the change, and one beside it does not read the tag from before."""
    source = Source()
    cache.get("k", ("x",), source)
    setting("REDIS_URL", AWAY)
    changed("x")
    source.value = "b"
    setting("REDIS_URL", db["REDIS_URL"])
    write, telling, go = generations._set, threading.Event(), threading.Event()

    def slow(*arguments):
        telling.set()
        assert go.wait(20)
        write(*arguments)

    monkeypatch.setattr(generations, "_set", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(generations.make_up)
        assert telling.wait(20)
        beside = pool.submit(cache.get, "k", ("x",), source)
        wait([beside], timeout=0.3)  # whoever does not wait is through by then
        go.set()
        assert (first.result(20), beside.result(20)) == (None, "b")
    assert not generations._owed


def test_a_command_says_when_others_could_not_be_told(app, setting, monkeypatch, capsys):
    monkeypatch.setattr(common, "TELL_SECONDS", 0.0)
    person = people.sign_up()
    assert run(["users", "disable", person.email]) == 0
    assert "Redis" not in capsys.readouterr().err
    setting("REDIS_URL", AWAY)
    assert run(["users", "enable", person.email]) == 0
    assert "it is done, but Redis (REDIS_URL) cannot be reached" in capsys.readouterr().err
    generations._owed.clear()


def test_a_request_sees_what_it_has_written_itself(cache):
    source = Source()
    generations.begin()
    try:
        cache.get("k", ("x",), source)
        with changing("x"):
            source.value = "b"
        assert cache.get("k", ("x",), source) == "b"
    finally:
        generations.end()


@pytest.mark.parametrize("away", [False, True])
def test_many_who_ask_at_once_read_once(cache, setting, away):
    if away:
        setting("REDIS_URL", AWAY)
    go, came, reads = threading.Event(), threading.Barrier(9), []

    def slow():
        reads.append(1)
        go.wait(10)
        return len(reads)

    def ask():
        generations.begin()
        came.wait(10)
        found.append(cache.get("k", ("x",), slow))

    found = []
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    came.wait(10)
    go.set()
    for one in threads:
        one.join(10)
    assert (found, len(reads)) == ([1] * 8, 1)


def test_what_raises_is_not_kept_and_the_oldest_goes_when_there_are_too_many(cache):
    source = Source()

    def broken():
        raise LookupError

    cache.get("k", ("x",), source)
    changed("x")
    with pytest.raises(LookupError):
        cache.get("k", ("x",), broken)
    assert cache.peek("k") is None
    for name in "abcd":
        cache.get(name, ("x",), source)
    assert [cache.peek(name) is None for name in "abcd"] == [True, False, False, False]
    forget_all()
    assert cache.peek("d") is None


def looks(cache, outcome):
    return REGISTRY.get_sample_value("agora_cache_looks_total", {"cache": cache, "outcome": outcome}) or 0


def test_hits_misses_and_ages_are_counted(caller):
    source, cache = Source(), Cache("counted", seconds=30.0)
    before = looks("counted", "hit"), looks("counted", "miss"), looks("counted", "stale")
    cache.get("k", ("x",), source)
    cache.get("k", ("x",), source)
    changed("x")
    cache.get("k", ("x",), source)
    after = looks("counted", "hit"), looks("counted", "miss"), looks("counted", "stale")
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1, 1]
    caller.get(JOBS)
    hits = looks("keys", "hit")
    caller.get(JOBS)
    assert looks("keys", "hit") == hits + 1
    text = caller.get("/metrics").text
    assert 'agora_cache_hit_age_seconds_count{cache="keys",process="web-' in text


def test_tags_do_not_stay_for_ever(db):
    changed("x")
    assert 0 < link.ask(lambda client: client.ttl(PREFIX + "x")) <= generations.TAG_SECONDS


def test_a_known_caller_costs_postgres_nothing(caller, monkeypatch):
    caller.get(JOBS)

    def read(*_, **__):
        raise AssertionError("Postgres is asked")

    monkeypatch.setattr(identity, "_look_up", read)
    monkeypatch.setattr(queries, "find_quotas", read)
    assert caller.get(JOBS).status_code == 200


def test_a_process_is_warm_before_its_first_submit(db, monkeypatch):
    agent = agent_with(job=[lambda _: Number()])
    catalogue.register_worker(list(agent.actions.values()), worker_id="wrk_1", hostname="here", pid=1)
    service.get_ready()
    monkeypatch.setattr(catalogue, "_read", None)
    monkeypatch.setattr(catalogue, "_find_latest", None)
    assert catalogue.look_up(agent.name, "job").spec.version == 1


# --- what callers may keep


def test_answers_say_who_may_keep_them(app, caller):
    read = caller.get(JOBS)
    assert read.headers["Cache-Control"] == "private, no-cache"
    assert {"Authorization", "Agora-Team"} <= set(read.vary)
    for path in ("/api/v1/keys", "/api/v1/team/members", "/api/v1/webhook-keys"):
        secret = caller.get(path)
        assert (secret.status_code, secret.headers["Cache-Control"]) == (200, "no-store"), path
    assert caller.get(f"{JOBS}/job_01m8n68v92ex4sftxqvbxqdtbs").headers["Cache-Control"] == "no-store"
    assert caller.post(JOBS, json={}).headers["Cache-Control"] == "no-store"
    client = app.test_client()
    assert client.get(JOBS).headers["Cache-Control"] == "no-store"
    for path in ("/docs", "/api/v1/openapi.json", "/errors/not-found", "/.well-known/jwks.json"):
        assert client.get(path).headers["Cache-Control"].startswith("public, max-age="), path
    assert client.get("/healthz").headers["Cache-Control"] == "no-store"
