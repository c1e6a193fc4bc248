"""`agora up`, as people run it."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from email import message_from_bytes
from pathlib import Path

import psutil
import pytest

from agora.settings import environment
from tests.acceptance.conftest import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(150)]
AGORA = Path(sys.executable).with_name("agora")


def start(data_dir, *more, **settings):
    env = {name: value for name, value in environment().items() if not name.startswith(("AGORA_", "DATABASE", "REDIS"))}
    env.pop("AUTH_DATABASE_URL", None)
    command = [str(AGORA), "--data-dir", str(data_dir), "up", "--quiet", *more]
    env |= {"AGORA_AGENTS": "tests.support.agents", "AGORA_PORT": "19080"} | settings
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def of_this(data_dir):
    """Every process that has the data directory in its command line or environment."""
    found = []
    for one in psutil.process_iter():
        try:
            told = " ".join(one.cmdline()) + one.environ().get("AGORA_DATA_DIR", "")
        except psutil.Error:
            continue
        if str(data_dir) in told and one.pid != os.getpid():
            found.append(one)
    return found


def wait_until_ready(started):
    lines = []
    for line in started.stdout:
        lines.append(line)
        if line.startswith("ready"):
            return lines
    raise AssertionError("".join(lines))


def test_kill_9_leaves_nothing_running_and_the_next_start_takes_over(tmp_path):
    first = start(tmp_path, "--only", "web,dispatcher")
    try:
        wait_until_ready(first)
        second = start(tmp_path, "--only", "dispatcher")
        told = second.communicate(timeout=60)[0]
        assert second.returncode == 1
        assert f"in use by process {first.pid}" in told
        assert len(of_this(tmp_path)) > 4
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
        first.stdout.close()
    until(lambda: not of_this(tmp_path), timeout=60, what="everything is gone")
    again = start(tmp_path, "--only", "dispatcher")
    try:
        wait_until_ready(again)
    finally:
        again.send_signal(signal.SIGINT)
        rest = again.communicate(timeout=60)[0]
    assert again.returncode == 0
    assert "stopped" in rest
    assert not of_this(tmp_path)


def test_an_account_is_made_with_the_mail_that_lies_in_the_data_directory(tmp_path):
    """Nothing is set but that people may sign up: they can, with what `agora up` prints."""
    up = start(tmp_path, "--only", "web,dispatcher", AGORA_SIGN_UP="open")
    try:
        lines = wait_until_ready(up)
        (folder,) = [Path(line.split()[1]) for line in lines if line.split()[:1] == ["Mail"]]
        url = json.loads((tmp_path / "run.json").read_text())["url"]
        account = {"email": "ada@example.test", "password": "four brown owls at night"}
        post(url, "sign-up", account | {"name": "Ada"})
        (mail,) = until(lambda: list(folder.glob("*.eml")), timeout=30, what="the mail")
        token = re.search(r"\b\w+_\S{20,}", message_from_bytes(mail.read_bytes()).get_payload(decode=True).decode())
        post(url, "verify-email", {"token": token[0], "password": account["password"]})
        assert post(url, "sign-in", account)["access_token"]
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)


def post(url, what, body):
    request = urllib.request.Request(
        f"{url}/api/v1/auth/{what}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"{}")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("AGORA_LEASE_SECONDS", "soon", "AGORA_LEASE_SECONDS"),
        ("AGORA_LEESE_SECONDS", "3", "did you mean AGORA_LEASE_SECONDS"),
        ("DATABASE_URL", "postgresql://x@127.0.0.1:1/y", "AUTH_DATABASE_URL"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(tmp_path, variable, value, told):
    env = {k: v for k, v in environment().items() if not k.startswith(("AGORA_", "DATABASE", "AUTH", "REDIS"))}
    done = subprocess.run(
        [str(AGORA), "--data-dir", str(tmp_path), "up"],
        env=env | {variable: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
