"""The command line as scripts and people use it: real processes against the real platform."""

import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agora.settings import environment
from tests.acceptance.conftest import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]
AGORA = Path(sys.executable).with_name("agora")


class Shell:
    """Runs the command against one platform."""

    def __init__(self, url, key, folder):
        self.folder = folder
        self.env = environment() | {"AGORA_API_URL": url, "AGORA_API_KEY": key}

    def start(self, *arguments, **options):
        return subprocess.Popen(
            [AGORA, *arguments], env=self.env, cwd=self.folder, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def __call__(self, *arguments, given="", code=0):
        process = self.start(*arguments)
        out, err = process.communicate(given, timeout=60)
        assert process.returncode == code, (arguments, process.returncode, out, err)
        return out if code == 0 else err


@pytest.fixture
def agora(running, tmp_path):
    return Shell(running.platform.url, running.platform.api_key, tmp_path)


def test_submit_watch_and_look(agora):
    job_id = agora("submit", "probe.chain", "--input", '{"name": "cli"}').strip()
    assert re.fullmatch(r"job_[0-9a-z]{26}", job_id)
    lines = agora("watch", job_id).splitlines()
    assert "job.created" in lines[0]
    assert "job.succeeded" in lines[-1]
    shown = agora("jobs", job_id)
    assert f"{job_id}  probe.chain  succeeded  100%" in shown
    assert re.search(r"middle +0 +succeeded +cpu +1", shown)
    job = json.loads(agora("jobs", job_id, "--json"))
    assert (job["status"], job["output"]) == ("succeeded", {"total": 3})
    assert job_id in agora("jobs", "--status", "succeeded", "--agent", "probe", "--limit", "200")
    assert job_id in [one["id"] for one in json.loads(agora("jobs", "--limit", "200", "--json"))]


def test_input_comes_from_a_file_or_standard_input_and_a_key_makes_one_job(agora):
    (agora.folder / "work.json").write_text('{"name": "from-file"}')
    first = agora("submit", "probe.chain", "-i", "@work.json", "--idempotency-key", "cli-once").strip()
    again = agora("submit", "probe.chain", "-i", "@work.json", "--idempotency-key", "cli-once").strip()
    assert first == again
    events = agora("submit", "probe.chain", "-i", "-", "--watch", "--json", given='{"name": "from-stdin"}').splitlines()
    assert [json.loads(line)["seq"] for line in events] == list(range(1, len(events) + 1))
    assert json.loads(events[-1])["type"] == "job.succeeded"


def test_a_question_is_shown_and_answered(agora, running):
    job_id = agora("submit", "probe.asks", "-i", '{"name": "stranger"}').strip()
    until(lambda: running.api.get_job(job_id)["status"] == "waiting", what="the question")
    assert "asks: how many, stranger?" in agora("jobs", job_id)
    assert "/value" in agora("answer", job_id, '"none"', code=1)
    agora("answer", job_id, "7")
    assert '"total": 7' in json.dumps(running.ended(job_id)["output"])


def test_cancel_and_exit_codes(agora):
    job_id = agora("submit", "probe.chain", "-i", '{"name": "long", "seconds": 30}').strip()
    assert job_id in agora("cancel", job_id, "--reason", "no more")
    agora("watch", job_id, code=1)
    assert f"{job_id}  probe.chain  cancelled" in agora("jobs", job_id)
    missing = agora("jobs", "job_00000000000000000000000000", code=3)
    assert missing.startswith("agora: ")
    assert missing.count("\n") == 1
    assert '"name" is a required property' in agora("submit", "probe.chain", "-i", "{}", code=1)
    assert "not JSON" in agora("submit", "probe.chain", "-i", "{", code=2)
    assert "AGENT.ACTION" in agora("submit", "nothing", code=2)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert "cannot be reached" in agora("--url", nobody, "jobs", code=4)


def is_refused(agora, key):
    process = agora.start("--key", key, "jobs")
    process.communicate(timeout=30)
    return process.returncode == 1


def test_keys_files_and_agents(agora):
    plain = agora("keys", "create", "for reading", "--scope", "jobs:read").strip()
    listed = json.loads(agora("keys", "list", "--json"))
    key = next(one for one in listed if one["name"] == "for reading" and not one["revoked_at"])
    assert plain.startswith(f"agora_{key['prefix']}_")
    agora("--key", plain, "jobs")
    assert "jobs:write" in agora("--key", plain, "submit", "probe.chain", "-i", '{"name": "x"}', code=1)
    agora("keys", "revoke", key["id"])
    until(lambda: is_refused(agora, plain), timeout=15, what="every web process has heard that the key is revoked")

    (agora.folder / "note.txt").write_text("twelve bytes")
    stored = json.loads(agora("files", "put", "note.txt", "--json"))
    assert agora("files", "get", stored["id"]) == "twelve bytes"
    assert re.search(r"probe\.chain +1 +cpu: [1-9]\d* +first > middle > last", agora("agents"))
    assert json.loads(agora("agents", "probe", "--json"))[0]["agent"] == "probe"


def test_listen_prints_what_comes(agora):
    with agora.start("listen", "--count", "1", "--json") as listening:
        cut = threading.Timer(60, listening.kill)
        cut.start()
        url = re.search(r"http://127\.0\.0\.1:\d+/", listening.stderr.readline())[0]
        job_id = agora("submit", "probe.chain", "-i", '{"name": "told"}', "--webhook", url).strip()
        heard = json.loads(listening.stdout.readline())
        cut.cancel()
    assert heard["event"]["data"]["job_id"] == job_id
    assert heard["event"]["type"].startswith("job.")
    assert listening.returncode == 0


def test_help_names_every_command_and_completion_is_a_script(agora):
    shown = agora("--help")
    for command in ("up", "demo", "submit", "jobs", "watch", "cancel", "listen", "keys", "db", "dispatcher", "agents"):
        assert re.search(rf"^  {command} ", shown, re.MULTILINE)
    assert "_AGORA_COMPLETE" in agora("completion", "bash")


def test_a_job_over_its_budget_is_shown_and_approved(agora):
    budget = '{"max_cost_usd": "0.10", "on_exceeded": "ask"}'
    job_id = agora("submit", "example_budget.research", "-i", '{"question": "why?"}', "--budget", budget).strip()
    until(lambda: "for approval" in agora("jobs", job_id), what="the job asks")
    shown = agora("jobs", job_id)
    assert "0.16 used, max_cost_usd is 0.10" in shown
    assert "spent: 2,400 tokens (1,800 in, 600 out), 0.16 USD" in shown
    low = agora("approve", job_id, "--max-cost-usd", "0.15", code=1)
    assert "max_cost_usd must be at least 0.16" in low
    approval = re.search(r"--approval (apr_[0-9a-z]{26})", shown)[1]
    assert "running" in agora("approve", job_id, "--max-cost-usd", "0.30", "--approval", approval)
    assert "job.succeeded" in agora("watch", job_id)


def test_a_job_is_moved_to_a_version_that_there_is(agora):
    job_id = agora("submit", "probe.asks", "-i", '{"name": "moved"}').strip()
    until(lambda: "waiting" in agora("jobs", job_id), what="the job waits")
    assert f"{job_id}  waiting  version 1" in agora("move", job_id, "--version", "1")
    assert "has no version 9" in agora("move", job_id, "--version", "9", code=1)
    assert "version 1 is where they are" in agora("move", "probe.chain", "--from", "1", "--version", "1", code=1)
    agora("move", "probe.chain", "--version", "1", code=2)
    agora("cancel", job_id)


def test_a_paused_queue_holds_its_jobs_and_lets_them_go(agora):
    plain = agora("keys", "create", "plain").split()[-1]
    # "*" is for what is the team's own
    assert "queues:write" in agora("--key", plain, "queues", "pause", "cpu", code=1)
    assert agora("queues", "pause", "cpu", "--reason", "repairs") == "cpu: paused\n"
    try:
        job_id = agora("submit", "probe.chain", "-i", '{"name": "held up"}').strip()
        assert re.search(r"^cpu +paused ", agora("queues"), re.MULTILINE)
        assert json.loads(agora("jobs", job_id, "--json"))["waits"]["reason"] == "paused"
    finally:
        agora("queues", "resume", "cpu")
    assert "job.succeeded" in agora("watch", job_id)
    assert {one["name"]: one["paused_at"] for one in json.loads(agora("queues", "--json"))}["cpu"] is None


def test_limits_are_set_listed_and_lifted(agora):
    assert agora("limits", "set", "probe.chain", "--max-running", "0") == "probe.chain: set\n"
    job_id = agora("submit", "probe.chain", "-i", '{"name": "in line"}').strip()
    assert json.loads(agora("jobs", job_id, "--json"))["waits"]["reason"] == "concurrency"
    assert re.search(r"^probe.chain +team +0 +- +0 +1$", agora("limits", "list"), re.MULTILINE)
    agora("limits", "lift", "probe.chain")
    assert "job.succeeded" in agora("watch", job_id)
    assert json.loads(agora("limits", "list", "--json")) == []
    assert "max_running, rate, or both" in agora("limits", "set", "probe.chain", code=1)


def test_keys_of_concurrency_and_uniqueness_are_options_of_submit(agora):
    slow = ("submit", "probe.chain", "-i", '{"name": "slow", "seconds": 20}')
    first = agora(*slow, "--concurrency-key", "one", "--unique", "twin").strip()
    assert agora(*slow, "--unique", "twin").strip() == first
    assert "concurrency key 'one'" in agora(
        *slow, "--concurrency-key", "one", "--concurrency-policy", "reject", code=1
    )  # fmt: skip
    agora("cancel", first)


def test_the_windows_of_keys_are_options_of_submit(agora):
    chain = ("submit", "probe.chain", "-i", '{"name": "window"}')
    first = agora(*chain, "--unique", "hourly", "--unique-window", "3600").strip()
    assert "job.succeeded" in agora("watch", first)
    assert agora(*chain, "--unique", "hourly", "--unique-window", "3600").strip() == first
    assert agora(*chain, "--unique", "hourly").strip() != first
    late = agora(*chain, "--debounce", "typing", "60", "--debounce-max", "60").strip()
    assert agora(*chain, "--debounce", "typing", "60", "--debounce-max", "60").strip() == late
    agora("cancel", late)
    assert "max_wait must be at least window" in agora(*chain, "--debounce", "k", "60", "--debounce-max", "1", code=1)
    assert "--unique-window needs --unique" in agora(*chain, "--unique-window", "1", code=2)
    assert "--debounce-max needs --debounce" in agora(*chain, "--debounce-max", "1", code=2)
