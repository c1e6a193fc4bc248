"""agora listen: verifies with either kind of key, passes on to this machine only, and tidies up after itself."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from agora.cli import forward
from agora.cli.forward import Target
from agora.cli.listen import json_line, plain_line, receiver
from agora.cli.root import cli
from agora.errors import Invalid
from agora.settings import environment
from agora.webhooks import keys, service
from tests.support.caller import Caller
from tests.support.receiver import cut
from tests.support.shell import Shell, serving
from tests.support.webhooks import eventually, run_until_ended

pytestmark = pytest.mark.usefixtures("db", "quiet")

QUICK = (0.0, 0.02, 0.02)


def addresses(monkeypatch, *found):
    rows = [(socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in found]
    monkeypatch.setattr(forward.socket, "getaddrinfo", lambda *_args, **_options: rows)


@pytest.mark.parametrize("algorithm", ["v1", "v1a"])
def test_what_comes_is_passed_on_byte_for_byte_and_the_answer_goes_back(team, receiver_at, engines, algorithm):
    local, url = receiver_at("/hook", 500, (503, {"Retry-After": "0"}), 204)
    with receiver(None, target=Target.of(url)) as here:
        made = team.endpoint(here.url, schedule=QUICK, algorithm=algorithm)
        [key] = keys.list_keys(made.endpoint.id, team_id=team.id)
        here.secret = key.public_key or made.secret
        [event] = team.happen(data={"name": "Zoë"})
        run_until_ended(engines(), team)
    [delivery] = team.deliveries()
    assert [one.status_code for one in delivery.attempts] == [500, 503, 204]
    assert delivery.attempts[0].response_body == "said 500"
    got = local.got["/hook"]
    assert [body for _, body, *_ in got] == [delivery.body.encode()] * 3
    for headers, *_ in got:
        assert headers["webhook-id"] == event.id
        assert headers["webhook-signature"].startswith(f"{algorithm},")
        assert headers["content-type"] == "application/json"
        assert headers["user-agent"].startswith("Agora-Webhooks/")
        assert headers["host"] == f"localhost:{local.port}"
    shown = [here.received.get(timeout=5) for _ in range(3)]
    assert [one.forwarded.status for one in shown] == [500, 503, 204]
    assert re.fullmatch(
        rf"verified  job\.succeeded  {event.id}  .*-> 500 in \d+ ms", plain_line(shown[0], verified=True)
    )
    assert json.loads(json_line(shown[2]))["forwarded"]["status"] == 204


@pytest.fixture
def receiver_at(receiver):
    def make(path, *answers):
        receiver.behave(path, *answers)
        return receiver, f"http://localhost:{receiver.port}{path}"

    return make


def test_what_is_not_authentic_is_not_passed_on(team, receiver_at, engines):
    local, url = receiver_at("/hook", 204)
    with receiver("whsec_" + "QUFB" * 8, target=Target.of(url)) as here:
        team.endpoint(here.url, schedule=(0.0,))
        team.happen()
        run_until_ended(engines(), team)
        refused = here.received.get(timeout=5)
    assert (refused.forwarded, "no v1 signature" in refused.refused) == (None, True)
    assert team.deliveries()[0].last_status_code == 400
    assert not local.got


def test_a_local_server_that_is_down_cuts_or_is_slow_is_told(receiver_at, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = Target.of(f"http://127.0.0.1:{closed.getsockname()[1]}/").send({}, b"{}")
    assert (nobody.status, "refused" in nobody.error) == (502, True)
    _, url = receiver_at("/cut", cut)
    assert Target.of(url).send({}, b"{}").status == 502
    monkeypatch.setattr(forward, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        late = Target.of(f"http://127.0.0.1:{silent.getsockname()[1]}/").send({}, b"{}")
    assert (late.status, late.milliseconds >= 200) == (504, True)


def test_a_redirect_of_the_local_server_is_not_followed(receiver_at):
    local, url = receiver_at("/hook", (302, {"Location": "/elsewhere"}))
    assert Target.of(url).send({}, b"{}").status == 302
    assert not local.got["/elsewhere"]


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/", "http://192.168.1.2:3000/", "http://169.254.169.254/latest", "http://0.0.0.0:3000/",
        "http://[::]/", "http://[::ffff:10.0.0.1]/", "http://8.8.8.8/", "http://[fe80::1]/",
    ],
)  # fmt: skip
def test_other_machines_are_refused_without_being_dialled(url):
    with pytest.raises(Invalid, match="this machine only"):
        Target.of(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/", "ftp://localhost/", "localhost:3000", "http:///x", "http://me@localhost/",
        "http://localhost/#x", "http://localhost:99999/", "/hook",
    ],
)  # fmt: skip
def test_other_urls_are_refused(url):
    with pytest.raises(Invalid, match="--forward"):
        Target.of(url)


def test_a_name_must_lead_to_this_machine_by_every_address(monkeypatch):
    addresses(monkeypatch, "127.0.0.1", "203.0.113.7")
    with pytest.raises(Invalid, match=r"203\.0\.113\.7"):
        Target.of("http://app.test/")
    addresses(monkeypatch, "127.0.0.5", "::1")
    found = Target.of("http://app.test:3000/hook?a=1")
    assert (found.addresses, found.netloc, found.path) == (("127.0.0.5", "::1"), "app.test:3000", "/hook?a=1")


def test_the_addresses_that_were_judged_are_dialled_whatever_the_name_says_later(monkeypatch, receiver):
    addresses(monkeypatch, "127.0.0.1")
    target = Target.of(f"http://app.test:{receiver.port}/hook")
    monkeypatch.undo()
    assert target.send({"webhook-id": "x"}, b"{}").status == 204
    [(headers, *_)] = receiver.got["/hook"]
    assert headers["host"] == f"app.test:{receiver.port}"


def test_the_next_address_is_tried_when_one_does_not_listen(receiver):
    target = Target(netloc="x", path="/hook", port=receiver.port, addresses=("127.0.0.2", "127.0.0.1"))
    assert target.send({}, b"{}").status == 204


def test_there_is_no_option_to_forward_elsewhere():
    command = cli.get_command(None, "listen")
    assert {one.name for one in command.params} == {
        "port", "secret", "endpoint", "types", "forward", "count", "as_json",
    }  # fmt: skip


@pytest.fixture
def served(app, team):
    caller = Caller(app)
    team.id = caller.team_id
    with serving(app) as url:
        yield url, caller.key


class Listening:
    """`agora listen` as a process of its own."""

    def __init__(self, served, *arguments):
        url, key = served
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from agora.cli import main; main()", "listen", *arguments], text=True,
            env=environment() | {"AGORA_API_URL": url, "AGORA_API_KEY": key}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        self.cut = threading.Timer(60, self.process.kill)
        self.cut.start()
        self.head = [self.process.stderr.readline() for _ in range(2)]
        assert self.head[-1].startswith("made endpoint "), self.head

    def end(self, number=None):
        if number is not None:
            os.kill(self.process.pid, number)
        out, err = self.process.communicate(timeout=30)
        self.cut.cancel()
        return self.process.returncode, out, err


def test_an_endpoint_of_its_own_is_made_and_deleted_at_the_end(served, team, engines):
    listening = Listening(served, "--endpoint", "--type", "job.*", "--count", "2", "--json")
    [endpoint] = service.list_endpoints(team_id=team.id).items
    assert listening.head[0].startswith(f"listening on {endpoint.url}")
    assert listening.head[1] == f"made endpoint {endpoint.id} for job.*: deleted at the end\n"
    team.happen("job.created")
    team.happen("step.failed")
    team.happen("job.failed")
    engine = engines()
    eventually(lambda: engine.run_once() + 1 and listening.process.poll() is not None)
    code, out, err = listening.end()
    told = [json.loads(line) for line in out.splitlines()]
    assert sorted(one["event"]["type"] for one in told) == ["job.created", "job.failed"]
    assert [one["refused"] for one in told] == [None, None]
    assert (code, err) == (0, f"deleted endpoint {endpoint.id}\n")
    assert service.list_endpoints(team_id=team.id).items == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_is_deleted_when_somebody_stops_it(served, team, number, code):
    listening = Listening(served, "--endpoint")
    assert len(service.list_endpoints(team_id=team.id).items) == 1
    ended, _, err = listening.end(number)
    assert (ended, "deleted endpoint" in err) == (code, True)
    assert service.list_endpoints(team_id=team.id).items == []


def test_it_ends_well_when_somebody_else_has_deleted_it(served, team):
    listening = Listening(served, "--endpoint")
    [endpoint] = service.list_endpoints(team_id=team.id).items
    service.delete_endpoint(endpoint.id, team_id=team.id)
    assert listening.end(signal.SIGINT)[0] == 130


def test_options_that_contradict_each_other_are_explained(served):
    agora = Shell(*served)
    assert "secret of its own" in agora("listen", "--endpoint", "--secret", "whsec_x", code=2)
    assert "--endpoint" in agora("listen", "--type", "job.*", code=2)
    assert "this machine only" in agora("listen", "--forward", "http://10.0.0.1/", code=2)
