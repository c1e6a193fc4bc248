"""agora webhooks: the command line against the API, with real deliveries."""

import json
import re
import threading
from datetime import timedelta

import pytest

from agora.clock import now
from agora.events.catalogue import find_type
from agora.webhooks import replay_duties, service
from tests.support.caller import Caller
from tests.support.replays import URL, some_ended, state, work_off
from tests.support.shell import Shell, serving
from tests.support.webhooks import run_until_ended, sql

pytestmark = pytest.mark.usefixtures("db", "quiet")


@pytest.fixture
def url(app):
    with serving(app) as found:
        yield found


@pytest.fixture
def agora(app, url, team):
    caller = Caller(app)
    team.id = caller.team_id
    return Shell(url, caller.key)


@pytest.fixture
def stranger(app, url):
    return Shell(url, Caller(app, team="other").key)


def as_json(text):
    return json.loads(text)


def test_an_endpoint_lives_its_life(agora):
    made = agora(
        "webhooks", "endpoints", "create", URL, "--uid", "mine", "--type", "job.*", "--type", "step.failed",
        "--header", "X-A: 1", "--schedule", "0,5", "--max-in-flight", "3", "--metadata", '{"a": 1}', "--agent", "probe",
    )  # fmt: skip
    endpoint_id = re.match(r"whe_\w+", made)[0]
    assert re.search(r"^secret: whsec_", made, re.MULTILINE)
    found = as_json(agora("webhooks", "endpoints", "show", "mine", "--json"))
    assert (found["id"], found["event_types"], found["schedule"]) == (endpoint_id, ["job.*", "step.failed"], [0.0, 5.0])
    assert (found["headers"], found["max_in_flight"], found["metadata"]) == ({"x-a": "1"}, 3, {"a": 1})
    assert f"{endpoint_id}  mine  active  {URL}/2" in agora(
        "webhooks", "endpoints", "update", "mine", "--url", f"{URL}/2"
    )
    assert "mine  paused (paused by its owner)" in agora("webhooks", "endpoints", "pause", "mine")
    assert "mine  active" in agora("webhooks", "endpoints", "resume", "mine")
    assert re.search(
        rf"^{endpoint_id} +mine +active +job\.\* step\.failed +{URL}/2$",
        agora("webhooks", "endpoints", "list"),
        re.MULTILINE,
    )
    assert agora("webhooks", "endpoints", "delete", "mine") == "mine  deleted\n"
    assert as_json(agora("webhooks", "endpoints", "list", "--json")) == []
    assert "no webhook endpoint mine" in agora("webhooks", "endpoints", "show", "mine", code=3)


def test_wrong_options_are_explained(agora):
    for arguments, message in (
        (("endpoints", "create", URL, "--header", "nothing"), "NAME:VALUE"),
        (("endpoints", "create", URL, "--schedule", "soon"), "seconds"),
        (("recover", "mine"), "--since"),
        (("recover", "mine", "--since", "yesterday"), "--since"),
        (("deliveries", "resend"), "DELIVERY"),
        (("replay", "--status", "pending"), "--status"),
    ):
        assert message in agora("webhooks", *arguments, code=2), arguments
    assert "all: true" in agora("webhooks", "replay", code=1)


def test_deliveries_are_listed_shown_and_sent_again(agora, team, receiver, engines):
    team.endpoint(receiver.behave("/hook", 500, 204), schedule=(0.0,), uid="mine")
    team.happen()
    engine = engines()
    run_until_ended(engine, team)
    [one] = team.deliveries()
    listed = agora("webhooks", "deliveries", "list", "--endpoint", "mine", "--status", "exhausted")
    assert re.search(rf"^{one.id} +exhausted +job\.succeeded +1 +500 ", listed, re.MULTILINE)
    shown = agora("webhooks", "deliveries", "show", one.id)
    assert one.body in shown
    assert re.search(r"^1 +\S+ +status +500 +\d+ ms +127\.0\.0\.1:\d+ +the receiver answered 500$", shown, re.MULTILINE)
    assert f"{one.id}  pending" in agora("webhooks", "deliveries", "resend", one.id)
    run_until_ended(engine, team)
    again = as_json(agora("webhooks", "deliveries", "show", one.id, "--json"))
    assert (again["status"], [each["number"] for each in again["attempts"]]) == ("succeeded", [1, 2])


def test_a_test_event_is_sent(agora, team, receiver, engines):
    team.endpoint(receiver.url("/hook"), uid="mine")
    delivery_id = agora("webhooks", "endpoints", "test", "mine").strip()
    run_until_ended(engines(), team)
    assert service.get_delivery(delivery_id, team_id=team.id).status == "succeeded"
    [(_, body, *_)] = receiver.got["/hook"]
    assert as_json(body)["type"] == "webhook.test"
    agora("webhooks", "endpoints", "test", "mine", "--type", "job.failed")
    run_until_ended(engines(), team)
    sent, example = as_json(receiver.got["/hook"][1][1]), find_type("job.failed").payload
    assert (sent["type"], sent["data"]) == ("job.failed", example["data"])
    assert "no event type job.odd" in agora("webhooks", "endpoints", "test", "mine", "--type", "job.odd", code=1)


@pytest.mark.parametrize("of", [("--endpoint", "mine"), ()])
def test_keys_are_listed_added_rotated_and_revoked(agora, stranger, team, of):
    team.endpoint(URL, uid="mine")
    first = as_json(agora("webhooks", "keys", "list", *of, "--json"))
    assert len(first) == len(of) // 2  # a team begins without keys of its own
    added = agora("webhooks", "keys", "add", *of, "--algorithm", "v1a")
    key_id, public = re.fullmatch(r"(whk_\w+)  v1a  whsk_\S+\npublic key: (whpk_\S+)\n", added).groups()
    own = "whsec_" + "QUFB" * 8
    assert own in agora("webhooks", "keys", "add", *of, "--secret", own)
    listed = agora("webhooks", "keys", "list", *of)
    assert re.search(rf"^{key_id} +v1a +\S+ +- +{re.escape(public)}$", listed, re.MULTILINE)
    rotated = as_json(agora("webhooks", "keys", "rotate", *of, "--overlap", "60", "--json"))
    assert rotated["secret"].startswith("whsec_")
    found = {one["id"]: one for one in as_json(agora("webhooks", "keys", "list", *of, "--json"))}
    ends = {one["id"] for one in found.values() if one["expires_at"]}
    assert ends == set(found) - {rotated["id"], key_id}
    assert agora("webhooks", "keys", "revoke", key_id, *of) == f"{key_id}  revoked\n"
    if of:
        assert "only key" in agora("webhooks", "keys", "revoke", rotated["id"], *of, code=1)
    else:
        agora("webhooks", "keys", "revoke", rotated["id"], "--endpoint", "mine", code=3)
    stranger("webhooks", "keys", "revoke", rotated["id"], *of, code=3)
    if of:
        stranger("webhooks", "keys", "list", *of, code=3)
    else:
        assert as_json(stranger("webhooks", "keys", "list", "--json")) == []


def test_statistics_are_told(agora, team, receiver, engines):
    made = team.endpoint(receiver.behave("/hook", 204, 500), schedule=(0.0,), uid="mine").endpoint
    engine = engines()
    for _ in range(2):
        team.happen()
        run_until_ended(engine, team)
    told = agora("webhooks", "endpoints", "stats", "mine")
    assert f"{made.id}  active\n2 deliveries in 86400 s: 1 succeeded, 1 exhausted\n" in told
    assert "success: 50.0% of those ended, 50.0% of 2 tries" in told
    assert re.search(r"^answers: p50 \d+ ms, p95 \d+ ms$", told, re.MULTILINE)
    assert re.search(r"^last failure: \S+  whd_\w+  status: the receiver answered 500$", told, re.MULTILINE)
    assert "unless a delivery succeeds" in told
    assert as_json(agora("webhooks", "endpoints", "stats", "mine", "--window", "60", "--json"))["window"] == 60


def test_a_recovery_is_counted_watched_and_shown(agora, team):
    endpoint = team.endpoint(URL, uid="mine").endpoint
    ids = some_ended(team, endpoint, 3)
    since = (now() - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M%z")
    assert agora("webhooks", "recover", "mine", "--since", since, "--dry-run") == "3 deliveries\n"
    stop = threading.Event()

    def dispatch():
        while not stop.wait(0.02):
            replay_duties.work_off()

    thread = threading.Thread(target=dispatch)
    thread.start()
    try:
        told = agora("webhooks", "recover", "mine", "--since", since, "--watch")
    finally:
        stop.set()
        thread.join(10)
    replay_id = re.match(r"(wrp_\w+)  recover  completed  3 of 3 in line\n", told)[1]
    assert set(state(ids).values()) == {"held"}
    assert agora("webhooks", "replays", "show", replay_id) == told


def test_a_replay_is_begun_listed_and_cancelled(agora, team):
    endpoint = team.endpoint(URL, uid="mine").endpoint
    some_ended(team, endpoint, 2, "succeeded", kind="step.succeeded")
    some_ended(team, endpoint, 1)
    narrow = ("webhooks", "replay", "--endpoint", "mine", "--status", "succeeded", "--type", "step.*")
    assert as_json(agora(*narrow, "--dry-run", "--json")) == {"dry_run": True, "matched": 2}
    begun = agora("webhooks", "replay", "--all")
    replay_id = re.match(r"(wrp_\w+)  replay  running  0 of 3 in line\n", begun)[1]
    listed = agora("webhooks", "replays", "list")
    assert re.search(rf"^{replay_id} +replay +running +0/3 +all$", listed, re.MULTILINE)
    assert agora("webhooks", "replays", "cancel", replay_id).startswith(f"{replay_id}  replay  cancelled")
    assert "is cancelled" in agora("webhooks", "replays", "cancel", replay_id, code=1)
    work_off()
    assert set(team.statuses()) == {"succeeded", "exhausted"}


def test_endpoints_go_out_and_come_in_again(agora, stranger, team, tmp_path):
    team.endpoint(URL, uid="one", headers={"X-Token": "t0ken"})
    team.endpoint(f"{URL}/two", uid="two")
    text = agora("webhooks", "export")
    assert [as_json(line)["uid"] for line in text.splitlines()] == ["one", "two"]
    assert "t0ken" not in text
    file = tmp_path / "endpoints.jsonl"
    file.write_text(text)
    assert agora("webhooks", "import", str(file)) == "0 created, 0 updated, 2 unchanged\n"
    changed = f'{text}\n{{"uid": "one", "description": "x"}}'.replace('"uid": "one", "url"', '"uid": "three", "url"')
    refused = stranger("webhooks", "import", "-", given=changed, code=1)
    assert refused.splitlines() == [
        "line 1: headers: the value of X-Token is redacted; give it",
        "line 4: url is needed for a new endpoint",
    ]
    fine = f"{text}".replace("[redacted]", "own")
    dry = stranger("webhooks", "import", "-", "--dry-run", given=fine)
    assert "would be 2 created, 0 updated, 0 unchanged" in dry
    assert as_json(stranger("webhooks", "endpoints", "list", "--json")) == []
    told = stranger("webhooks", "import", "-", given=fine)
    assert len(re.findall(r"^created +whe_\w+ +(?:one|two) +whsec_\S+$", told, re.MULTILINE)) == 2
    assert "line 1 is not JSON" in agora("webhooks", "import", "-", given="{", code=2)
    assert "no JSON object" in agora("webhooks", "import", "-", given="[]", code=2)
    assert "no endpoints" in agora("webhooks", "import", "-", given="\n", code=2)


def test_more_than_a_thousand_are_checked_before_the_first_is_made(agora):
    lines = [json.dumps({"url": f"{URL}/{n}", "uid": f"u{n}"}) for n in range(1_002)]
    wrong = [*lines[:1_001], '{"url": "nonsense", "uid": "u1002"}']
    assert agora("webhooks", "import", "-", given="\n".join(wrong), code=1).startswith("line 1002: url: ")
    assert sql("SELECT count(*) AS n FROM webhook_endpoints")[0]["n"] == 0
    told = agora("webhooks", "import", "-", "--json", given="\n".join(lines)).splitlines()
    assert [as_json(line)["created"] for line in told] == [1_000, 2]
    assert len(agora("webhooks", "export").splitlines()) == 1_002


def test_another_team_finds_nothing(agora, stranger, team):
    endpoint = team.endpoint(URL, uid="mine").endpoint
    [one] = some_ended(team, endpoint, 1)
    replay_id = as_json(agora("webhooks", "replay", "--all", "--json"))["id"]
    for arguments in (
        ("endpoints", "show", endpoint.id),
        ("endpoints", "stats", endpoint.id),
        ("endpoints", "update", endpoint.id, "--description", "x"),
        ("endpoints", "test", endpoint.id),
        ("endpoints", "delete", endpoint.id),
        ("deliveries", "show", one),
        ("deliveries", "resend", one),
        ("recover", endpoint.id, "--since", "2020-01-01T00:00+00:00"),
        ("replay", "--endpoint", endpoint.id),
        ("replays", "show", replay_id),
        ("replays", "cancel", replay_id),
    ):
        assert stranger("webhooks", *arguments, code=3).startswith("agora: "), arguments
    assert stranger("webhooks", "export") == ""
