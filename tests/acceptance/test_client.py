"""The Python client against the real API: what it returns, what it raises, what it survives."""

import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agora.client import Agora, ApiError, Unreachable
from agora.clock import now
from tests.acceptance.conftest import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


def test_a_job_from_submit_to_its_end(running):
    api = running.api
    job = api.submit("probe", "chain", {"name": "client"}, metadata={"order": 7}, priority=8, wait=20)
    assert (job["status"], job["output"], job["priority"]) == ("succeeded", {"total": 3}, 8)
    assert api.get_job(job["id"])["metadata"] == {"order": 7}
    assert next(event["seq"] for event in api.events(job["id"], after=2)) == 3
    assert api.list_jobs(agent="probe", limit=1)["items"][0]["agent"] == "probe"
    assert job["id"] in [one["id"] for one in api.iter_jobs(agent="probe", limit=2)]


def test_a_scheduled_job_waits_for_its_time_and_can_be_cancelled(running):
    job = running.api.submit("probe", "chain", {"name": "later"}, run_at=now() + timedelta(hours=1))
    assert job["status"] == "scheduled"
    assert running.api.cancel(job["id"], "changed")["status"] == "cancelled"
    with pytest.raises(ApiError) as refused:
        running.api.cancel(job["id"])
    assert refused.value.status == 409


def test_a_question_is_answered_once(running):
    job_id = running.submit("both", "asks")
    until(lambda: running.api.get_job(job_id)["status"] == "waiting", what="the question")
    with pytest.raises(ApiError) as refused:
        running.api.give_input(job_id, 0)
    assert refused.value.status == 422
    running.api.give_input(job_id, 5)
    assert running.ended(job_id)["output"] == {"total": 5}
    with pytest.raises(ApiError) as late:
        running.api.give_input(job_id, 6)
    assert late.value.status == 409


def test_refusals_carry_the_problem(running):
    with pytest.raises(ApiError) as refused:
        running.api.submit("probe", "chain", {"seconds": "many"})
    assert refused.value.status == 422
    pointers = {error["pointer"] for error in refused.value.errors}
    assert pointers == {"/input", "/input/seconds"}
    with pytest.raises(ApiError) as unknown:
        running.api.get_job("job_00000000000000000000000000")
    assert unknown.value.status == 404
    with Agora(running.platform.url, "agora_00000000_nobody") as stranger, pytest.raises(ApiError) as unauthorised:
        stranger.list_jobs()
    assert unauthorised.value.status == 401


def test_endpoints_files_and_keys(running):
    api = running.api
    endpoint = api.create_endpoint("https://receiver.example/hook", event_types=["job.*"], uid="client-test")
    assert endpoint["secret"].startswith("whsec_")
    assert "client-test" in [one["uid"] for one in api.list_endpoints(limit=100)["items"]]
    api.delete_endpoint("client-test")
    assert "client-test" not in [one["uid"] for one in api.list_endpoints(limit=100)["items"]]
    stored = api.upload(b"\x00bytes", name="raw.bin")
    assert api.download(stored["id"]) == b"\x00bytes"
    key = api.create_key("client", ["jobs:read"])
    api.revoke_key(key["id"])
    assert next(one for one in api.list_keys() if one["id"] == key["id"])["revoked_at"]


def test_the_lines_of_a_worker_have_the_id_of_the_request(running):
    platform, name = running.platform, f"r-{uuid4().hex}"
    body = json.dumps({"agent": "probe", "action": "chain", "input": {"name": "traced"}}).encode()
    headers = {
        "Authorization": f"Bearer {platform.api_key}", "Content-Type": "application/json", "X-Request-Id": name,
    }  # fmt: skip
    with urlopen(Request(f"{platform.url}/api/v1/jobs", body, headers), timeout=10) as answer:
        job_id = json.load(answer)["id"]
    assert running.ended(job_id)["request_id"] == name

    def told():
        lines = [line for process in ("worker", "worker-io") for line in running.log(process).splitlines()]
        return [line for line in lines if "step ended" in line and job_id in line]

    found = until(told, what="a worker's line")
    assert all(name in line for line in found)


def test_waiting_ends_at_its_deadline(running):
    job_id = running.submit("slow", seconds=20)
    with pytest.raises(TimeoutError):
        running.api.wait(job_id, 0.3)
    running.api.cancel(job_id)


def test_nobody_there():
    with Agora("http://127.0.0.1:9", "key", timeout=1) as api, pytest.raises(Unreachable):
        api.list_jobs()
    with pytest.raises(ValueError, match="base_url"):
        Agora("ftp://example", "key")


@pytest.fixture
def moody():
    """A server that answers with what stands in its list, then with an empty page."""
    answers, asked = [], []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            asked.append(self.path)
            status, headers = answers.pop(0) if answers else (200, {})
            if status is None:
                self.close_connection = True
                return
            body = b'{"items": [], "next_cursor": null}' if status == 200 else b"no JSON"
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", answers, asked
    server.shutdown()
    server.server_close()


def test_a_busy_or_cut_server_is_asked_again_and_a_refusal_is_not(moody):
    url, answers, asked = moody
    answers += [(503, {"Retry-After": "0"}), (None, {}), (200, {})]
    with Agora(url, "key") as api:
        assert api.list_jobs() == {"items": [], "next_cursor": None}
        assert len(asked) == 3
        answers += [(404, {})]
        with pytest.raises(ApiError) as refused:
            api.list_jobs()
        assert (refused.value.status, len(asked)) == (404, 4)
        answers += [(429, {})] * 10
        with pytest.raises(ApiError) as busy:
            api.list_jobs()
        assert (busy.value.status, len(asked)) == (429, 9)


def test_steps_that_workers_ran_and_deliveries_are_in_the_metrics_of_the_api(running):
    """Of each process by its name: the dispatcher, both kinds of workers, the web processes."""
    assert running.api.submit("probe", "chain", {"name": "counted"}, wait=20)["status"] == "succeeded"

    def told():
        with urlopen(f"{running.platform.url}/metrics", timeout=10) as answer:
            samples = [
                one for family in text_string_to_metric_families(answer.read().decode()) for one in family.samples
            ]
        kinds = {one.labels["process"].split("-")[0] for one in samples if "process" in one.labels}
        ran = [one for one in samples if one.name == "agora_steps_total" and one.labels["label"].startswith("probe.")]
        return kinds >= {"web", "worker", "dispatcher"} and sum(one.value for one in ran) >= 1

    until(told, timeout=30, what="each process tells its metrics")
