"""A package from outside, installed into a fresh environment beside Agora, runs its job; `agora dev` reloads one."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from agora.client import Agora, local
from agora.settings import environment
from tests.acceptance.conftest import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(170)]
ROOT = Path(__file__).parents[2]
AGORA = Path(sys.executable).with_name("agora")
INSTALL = ("install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=120, **options)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def clean(env):
    return {name: value for name, value in env.items() if not name.startswith(("AGORA_", "PYTHON"))}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A fresh environment with Agora's own wheel. Its dependencies, and hatchling, are shared with this one.

    A path in a .pth file is only added to the search path: the editable install of this environment is not seen there.
    """
    folder = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "venv" / "lib" / version / "site-packages"
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    source = folder / "source"
    source.mkdir()
    for name in ("api", "domains", "examples", "platform", "workers"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "Procfile", "README.md", "celeryconfig.py", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "pip", "--python", python, *INSTALL, source, env=clean(environment()))
    found = run(python, "-c", "import agora; print(agora.__file__)", cwd=folder, env=clean(environment())).strip()
    assert Path(found).is_relative_to(site), "Agora is the installed wheel, not the working copy"
    return folder, python


def test_a_package_from_outside_runs_its_job_and_the_api_is_untouched(running, fresh):
    folder, python = fresh
    env, agora = clean(environment()), python.with_name("agora")
    web = running.platform.processes.pid("web")
    told = run(agora, "agents", "new", "order-desk", cwd=folder, env=env)
    assert "src/order_desk/agent.py" in told
    package = folder / "order-desk"
    assert "4 passed" in run(python, "-m", "pytest", "-q", cwd=package, env=env)
    run(sys.executable, "-m", "pip", "--python", python, *INSTALL, package, env=env)
    shutil.rmtree(package)  # what runs from here on is what was installed
    command = ["celery", "--quiet", "--app", "workers.celery", "worker", "--pool", "threads", "--queues", "cpu,io"]
    command += ["--concurrency", "2", "--without-gossip", "--without-mingle", "--hostname", "outside@%h"]
    settings = {name: value for name, value in running.platform.env.items() if name != "AGORA_AGENTS"}
    with (folder / "worker.log").open("w") as log:
        worker = subprocess.Popen(
            [python, "-m", *command], cwd=folder, env=env | settings, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            until(lambda: "order_desk" in {one["agent"] for one in running.api.agents()}, what="the agent is known")
            job = running.api.submit("order_desk", "greet", {"name": "Ada"})
            ended = running.ended(job["id"])
            assert (ended["status"], ended["output"]) == ("succeeded", {"text": "Hello, Ada!", "letters": 11})
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)
    assert running.platform.processes.pid("web") == web
    assert "left" in (folder / "worker.log").read_text()


class Developing:
    """`agora dev` and what it prints."""

    def __init__(self, folder, *words):
        env = clean(environment()) | {"AGORA_PORT": "19180", "AGORA_AGENTS": "workers.agents"}
        for name in ("DATABASE_URL", "AUTH_DATABASE_URL", "REDIS_URL"):
            env.pop(name, None)
        self.data = folder / "data"
        self.process = subprocess.Popen(
            [AGORA, "--data-dir", self.data, "dev", *words, "--only", "web,worker,worker-io,dispatcher"],
            cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        self.lines.extend(self.process.stdout)

    def said(self, text, times=1, timeout=60):
        try:
            until(lambda: sum(text in line for line in list(self.lines)) >= times, timeout, text)
        except AssertionError:
            raise AssertionError("".join(self.lines)) from None

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self._reader.join(10)
        self.process.stdout.close()
        return code


def test_dev_restarts_the_workers_and_takes_the_changed_shape(tmp_path):
    run(AGORA, "agents", "new", "hello", cwd=tmp_path)
    agent = tmp_path / "hello" / "src" / "hello" / "agent.py"
    whole = agent.read_text()
    dev = Developing(tmp_path, "hello")
    try:
        dev.said("ready; Ctrl-C stops it")
        with local(dev.data) as api:
            greet(api, "Hello, Ada!")
            agent.write_text(whole.replace("Hello,", "Good day,"))
            dev.said("agent.py changed; the workers stop")
            dev.said("the workers start again")
            greet(api, "Good day, Ada!")

            agent.write_text(whole + "\ndef broken(:\n")
            dev.said("no worker runs until that is mended")
            dev.said("SyntaxError")
            waiting = api.submit("hello", "greet", {"name": "Eve"})["id"]

            renamed = whole.replace("def compose", "def phrase").replace("compose)", "phrase)")
            agent.write_text(renamed)
            dev.said("open jobs were made by it; end them")
            api.cancel(waiting)
            until(lambda: api.get_job(waiting)["status"] == "cancelled", what="the old job is cancelled")
            until(lambda: "phrase" in steps_of(api), 60, "the new shape is registered")
            job = greet(api, "Hello, Ada!")
            assert [step["name"] for step in job["steps"]] == ["phrase", "conclude"]
    finally:
        code = dev.stop()
    assert code == 0, "".join(dev.lines)


def greet(api: Agora, text):
    until(lambda: steps_of(api), 60, "the agent is known")
    job = api.wait(api.submit("hello", "greet", {"name": "Ada"})["id"], 60)
    assert (job["status"], job["output"]["text"]) == ("succeeded", text)
    return job


def steps_of(api: Agora):
    return [step["name"] for one in api.agents() if one["agent"] == "hello" for step in one["steps"]]


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path):
    for command, told in (
        (["agents", "new", "Order"], "name must be 1 to 50 lower-case letters"),
        (["agents", "new", "json"], "name must not be that of another module"),
        (["dev", "nowhere"], "nowhere: there is no such folder, Python file or module"),
        (["dev"], "the folder has no pyproject.toml; `agora agents new NAME` makes one"),
    ):
        done = subprocess.run(
            [AGORA, *command], cwd=tmp_path, capture_output=True, text=True, check=False, env=clean(os.environ)
        )
        assert done.returncode == 1, done
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_agents_are_listed_shown_and_made_by_one_command(running, tmp_path):
    env = environment() | {"AGORA_API_URL": running.platform.url, "AGORA_API_KEY": running.platform.api_key}
    listed = run(AGORA, "agents", cwd=tmp_path, env=env)
    assert "probe.chain" in listed
    shown = run(AGORA, "agents", "probe", cwd=tmp_path, env=env)
    assert shown.split()[:4] == listed.split()[:4] == ["ACTION", "VERSION", "WORKERS", "STEPS"]
    assert {line.split(".")[0] for line in shown.splitlines()[1:]} == {"probe"}
    assert run(AGORA, "agents", "probe", "--json", env=env) == run(AGORA, "agents", "show", "probe", "--json", env=env)
