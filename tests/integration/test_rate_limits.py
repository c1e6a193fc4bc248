"""Rate limits: per key, user, team and address, over all processes, and with Redis away."""

import itertools
import json
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import pytest
import redis

from agora.caching import link
from agora.identity import throttle
from agora.ids import new_id
from agora.quotas import gate, tiers
from agora.quotas.bucket import Bucket, Local
from tests.support import people
from tests.support.caller import Caller
from tests.support.counting import counters
from tests.support.people import Browser
from tests.support.web import gunicorn

pytestmark = pytest.mark.usefixtures("as_many_processes")
JOBS = "/api/v1/jobs"
DAY = 86_400
AWAY = "redis://127.0.0.1:1/0"


@pytest.fixture
def limited(caller):
    """Gives the caller's team so many requests a minute."""

    def limit(requests, team="t"):
        tiers.move_team(team, None, {"requests_per_minute": requests})

    return limit


def statuses(call, count):
    return [call().status_code for _ in range(count)]


def test_a_team_is_refused_beyond_its_limit_and_told_how_and_when(caller, limited):
    limited(3)
    first = caller.get(JOBS)
    assert first.headers["RateLimit-Policy"] == '"team";q=3;w=60'
    assert first.headers["RateLimit"] == '"team";r=2;t=20'
    assert statuses(lambda: caller.get(JOBS), 2) == [200, 200]
    refused = caller.get(JOBS)
    assert (refused.status_code, refused.json["code"]) == (429, "rate-limited")
    assert refused.json["violated-policies"] == ["team"]
    assert refused.headers["RateLimit"].startswith('"team";r=0;t=')
    assert 18 <= int(refused.headers["Retry-After"]) <= 20
    assert int(refused.headers["Retry-After"]) == refused.json["retry_after"]


def test_a_change_of_the_limit_counts_at_the_next_request(caller, limited):
    limited(1)
    assert statuses(lambda: caller.get(JOBS), 2) == [200, 429]
    limited(None)
    assert "RateLimit" not in caller.get(JOBS).headers
    limited(5)
    assert "q=5" in caller.get(JOBS).headers["RateLimit-Policy"]


def test_a_key_may_have_a_limit_of_its_own_and_others_of_the_team_go_on(app, caller, limited):
    limited(100)
    made = caller.post("/api/v1/keys", json={"name": "slow", "scopes": ["*"], "requests_per_minute": 2})
    assert made.json["requests_per_minute"] == 2
    slow = Caller(app)
    slow.key = made.json["secret"]
    assert statuses(lambda: slow.get(JOBS), 3) == [200, 200, 429]
    assert slow.get(JOBS).json["violated-policies"] == ["key"]
    before = int(caller.get(JOBS).headers["RateLimit"].partition("r=")[2].partition(";")[0])
    assert statuses(lambda: slow.get(JOBS), 3) == [429] * 3
    after = int(caller.get(JOBS).headers["RateLimit"].partition("r=")[2].partition(";")[0])
    assert before - after == 1  # what was refused was charged to nobody
    fresh = caller.post(f"/api/v1/keys/{made.json['id']}/rotate", json={})
    assert fresh.json["requests_per_minute"] == 2


def test_a_user_has_one_bucket_for_all_their_teams(app, db):
    browser = Browser(app, people.sign_up())
    for team in browser.get("/api/v1/teams").json["items"]:
        tiers.move_team(team["id"], None, {"requests_per_minute": 4})
    other = browser.post("/api/v1/teams", json={"name": "Second"}).json["id"]
    tiers.move_team(other, None, {"requests_per_minute": 4})
    used = 4 - int(browser.get(JOBS).headers["RateLimit"].partition('"user";r=')[2].partition(";")[0])
    browser.team = other
    assert statuses(lambda: browser.get(JOBS), 5 - used) == [200] * (4 - used) + [429]
    assert browser.get(JOBS).json["violated-policies"] == ["user"]


def test_guessing_keys_is_bounded_by_address_and_whoever_is_known_goes_on(app, caller, setting):
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 3)
    assert caller.get(JOBS).status_code == 200
    client, numbers = app.test_client(), itertools.count()

    def guess(address="127.0.0.1"):
        headers = {"Authorization": f"Bearer agora_{next(numbers)}"}
        return client.get(JOBS, headers=headers, environ_base={"REMOTE_ADDR": address})

    assert statuses(guess, 5) == [401, 401, 401, 429, 429]
    assert guess().json["violated-policies"] == ["address"]
    assert caller.get(JOBS).status_code == 200
    assert guess("127.0.0.2").status_code == 401
    assert [guess(f"2001:db8::{n}").status_code for n in range(4)] == [401, 401, 401, 429]  # one network
    assert client.get(JOBS, headers={"Authorization": "Bearer a.b.c"}).status_code == 429
    assert client.get(JOBS).status_code == 429
    assert client.post("/api/v1/auth/sign-in", json={}).status_code == 429


def test_health_is_never_refused_and_a_page_is_told_as_a_page(app, db, setting):
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 1)
    client = app.test_client()
    assert statuses(lambda: client.get("/healthz"), 3) == [200] * 3
    assert statuses(lambda: client.get("/metrics"), 2) == [200] * 2
    assert client.get("/docs").status_code == 200
    refused = client.get("/webhook-portal/nothing")
    assert refused.status_code == 429
    assert refused.content_type.startswith("text/html")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


# --- many processes


def test_many_processes_at_once_never_get_more_than_the_limit(db):
    name, quota = new_id("team"), 300
    with counters(4, name, quota) as ask:
        let = ask()
    assert sum(let) == quota
    assert len([one for one in let if one]) > 1, "they did not run at once"
    [left] = gate.pass_through([Bucket(policy="user", name=f"{name}-wide", quota=1_000_000, window=DAY)]).states
    assert left.remaining >= 1_000_000 - quota - 1  # a refused call charges no bucket


@pytest.mark.parametrize("there", [True, False], ids=["by Redis", "by the process"])
def test_what_is_given_back_is_given_back_also_when_there_is_no_room(db, setting, there):
    """A caller who is refused for their own limit has shown who they are: their address pays nothing for it."""
    if not there:
        setting("REDIS_URL", AWAY)
    own, address = (Bucket(policy="user", name=new_id("team"), quota=2, window=DAY) for _ in range(2))
    back = Bucket(policy="address", name=address.name, quota=2, window=DAY, cost=-1)
    gate.pass_through([own, address])
    assert gate.pass_through([address]).states[0].remaining == 0
    gate.pass_through([own])
    assert gate.pass_through([own, back]).states[0].wait > 0
    assert gate.pass_through([address]).states[0].wait == 0


def test_a_clock_that_goes_back_keeps_nobody_out_for_longer_than_their_limit(db):
    """So does that of another host after a fail-over: a bucket is never fuller than full."""
    bucket = Bucket(policy="key", name=new_id("team"), quota=2)
    gate.pass_through([bucket])
    hour = 3600 * 1_000_000
    link.ask(lambda client: client.incrby(gate.BUCKET + bucket.name, hour))
    (refused,) = gate.pass_through([bucket]).states
    assert 0 < refused.wait <= 30_000_000
    assert refused.full_in <= 60_000_000
    back = Bucket(policy="key", name=bucket.name, quota=2, cost=-1)
    gate.pass_through([back])
    assert gate.pass_through([bucket]).states[0].wait == 0


# --- Redis away


def freeze(server):
    os.kill(server.pid, signal.SIGSTOP)


def thaw(server):
    os.kill(server.pid, signal.SIGCONT)


def test_while_redis_is_away_each_process_lets_its_share_through_and_no_more(app, caller, own_valkey, setting, limited):
    setting("AGORA_WEB_PROCESSES", 2)
    setting("AGORA_WEB_HOSTS", 2)
    limited(8)
    assert caller.get(JOBS).status_code == 200
    own_valkey.stop()
    assert statuses(lambda: caller.get(JOBS), 4) == [200, 200, 429, 429]
    assert caller.get(JOBS).headers["Retry-After"] == "30"
    assert Caller(app, team="other").get(JOBS).status_code == 200
    setting("AGORA_ADDRESS_REQUESTS_PER_MINUTE", 4)
    guess = {"Authorization": "Bearer agora_no"}
    client = app.test_client()
    assert statuses(lambda: client.get(JOBS, headers=guess), 3)[-1] == 429


@pytest.mark.parametrize(("quota", "share"), [(300, 75), (302, 75), (4, 1), (3, 1)])
def test_while_redis_is_away_many_processes_get_their_shares_and_never_more(db, setting, quota, share):
    """Together the limit, rounded down; one each where it is smaller than their number. Nothing comes on top later."""
    setting("REDIS_URL", AWAY)
    setting("AGORA_WEB_PROCESSES", 2)
    setting("AGORA_WEB_HOSTS", 2)
    with counters(4, new_id("team"), quota) as ask:
        assert ask() == [share] * 4
        assert ask() == [0] * 4


def test_a_redis_that_dies_gives_away_the_limit_once_more_and_no_more_than_that(own_valkey, setting):
    setting("AGORA_WEB_PROCESSES", 2)
    setting("AGORA_WEB_HOSTS", 2)
    quota = 200
    with counters(4, new_id("team"), quota) as ask:
        assert sum(ask()) == quota
        own_valkey.stop()
        assert sum(ask()) == quota
        assert sum(ask()) == 0


def test_a_server_without_redis_neither_stops_nor_opens(rig, caller, limited, tmp_path):
    """The real server in two processes, more calls than they may let through: each is taken, or refused by a limit."""
    limit, calls = 40, 120
    limited(limit)
    settings = {"REDIS_URL": AWAY, "AGORA_WEB_PROCESSES": "2", "AGORA_ADDRESS_REQUESTS_PER_MINUTE": str(limit)}
    submit = {"agent": "probe", "action": "double", "input": {"n": 4}}
    with gunicorn(tmp_path / "log", **settings) as web, ThreadPoolExecutor(8) as pool:

        def statuses_of(address, path, body, key=""):
            def call(_):
                connection = HTTPConnection("127.0.0.1", web.port, timeout=30, source_address=(address, 0))
                with closing(connection):
                    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
                    connection.request("POST", path, json.dumps(body), headers)
                    return connection.getresponse().status

            return Counter(pool.map(call, range(calls)))

        begun = time.monotonic()
        submits = statuses_of("127.0.0.1", JOBS, submit, caller.key)
        guesses = statuses_of("127.0.0.2", JOBS, submit, "agora_no")
        most = limit + limit * (time.monotonic() - begun) / 60
        mails = statuses_of("127.0.0.3", "/api/v1/auth/password-reset", {"email": "nobody@example.test"})
    assert (set(submits), set(guesses), set(mails)) == ({202, 429}, {401, 429}, {202, 429})
    assert limit / 2 <= submits[202] <= most  # had all come to one process, it would have taken its half
    assert limit / 2 <= guesses[401] <= most
    assert throttle.MAILS.amount <= mails[202] <= 2 * throttle.MAILS.amount  # of these each process counts to the whole
    assert rig.sql("SELECT count(*) AS jobs FROM jobs")[0]["jobs"] == submits[202]


@pytest.fixture
def hang(own_valkey, monkeypatch):
    """Freezes the server, which is left alone for a minute once it has not answered; returns who waited for it."""
    waits, read = [], redis.Connection.read_response

    def counted(self, *arguments, **options):
        try:
            return read(self, *arguments, **options)
        except redis.TimeoutError:
            waits.append(self)
            raise

    def freeze_now():
        monkeypatch.setattr(link, "REST_SECONDS", 60.0)
        monkeypatch.setattr(redis.Connection, "read_response", counted)
        freeze(own_valkey)
        return waits

    yield freeze_now
    thaw(own_valkey)


def test_a_redis_that_hangs_costs_one_wait_and_no_outage(caller, limited, own_valkey, hang):
    limited(1_000)
    assert caller.get(JOBS).status_code == 200
    waits = hang()
    assert statuses(lambda: caller.get(JOBS), 5) == [200] * 5
    assert len(waits) == 1
    thaw(own_valkey)
    link.forget()
    answered = caller.get(JOBS)
    assert answered.headers["RateLimit"].startswith('"team";r=99')


def test_a_redis_that_hangs_costs_a_sign_in_one_wait_too(app, hang):
    """Which asks several times: before the work, before the judgement, and to give back."""
    person = people.sign_up()
    waits = hang()
    assert Browser(app).sign_in(person).status_code == 200
    assert len(waits) == 1


def test_when_redis_is_back_all_count_together_again(caller, own_valkey, limited):
    limited(4)
    assert statuses(lambda: caller.get(JOBS), 2) == [200, 200]
    freeze(own_valkey)
    try:
        assert caller.get(JOBS).status_code == 200  # a share of its own
    finally:
        thaw(own_valkey)
    link.forget()
    left = caller.get(JOBS).headers["RateLimit"].partition("r=")[2].partition(";")[0]
    assert left in {"0", "1"}  # what was sent to the frozen server counts there too, if it got so far


def test_a_bucket_here_fills_as_one_in_redis_does(db, monkeypatch):
    """The two are the same algorithm: with the same calls they say the same."""
    name, here = new_id("team"), Local()
    buckets = [Bucket(policy="team", name=name, quota=5, window=DAY), Bucket(policy="key", name=name + "k", quota=3)]
    back = [Bucket(policy="team", name=name, quota=5, window=DAY, cost=-2)]
    for asked in [*[buckets] * 4, buckets[:1], buckets[:1], buckets[:1], back, buckets[:1]]:
        shared = gate.pass_through(asked).states
        alone = here.take(asked, shares=1)
        assert [(one.remaining, bool(one.wait)) for one in shared] == [(one.remaining, bool(one.wait)) for one in alone]


def test_a_process_keeps_no_more_buckets_than_it_may(monkeypatch):
    monkeypatch.setattr("agora.quotas.bucket.MOST_BUCKETS", 10)
    here = Local()
    for number in range(100):
        here.take([Bucket(policy="address", name=str(number), quota=100)], shares=1)
    assert len(here._full_at) <= 11
