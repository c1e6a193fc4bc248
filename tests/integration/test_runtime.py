"""The supervisor and the look at Postgres' room, with real processes and a real server."""

import os
import signal
import sys
import time

import psycopg
import pytest

from agora.errors import SettingsError
from agora.runtime.connections import check_connections
from agora.runtime.postgres import EmbeddedPostgres
from agora.runtime.supervisor import Supervisor, command_of, read_procfile
from agora.settings import environment, get_settings
from tests.support.webhooks import eventually


def test_a_procfile_is_read_in_order_and_a_wrong_line_is_named():
    text = "# processes\nweb: gunicorn -b :$PORT\n\nworker-io: celery --hostname io-${NAME}@%h\n"
    assert list(read_procfile(text).items()) == [
        ("web", "gunicorn -b :$PORT"),
        ("worker-io", "celery --hostname io-${NAME}@%h"),
    ]
    with pytest.raises(SettingsError, match="line 2"):
        read_procfile("web: true\nno colon here\n")


def test_variables_are_filled_in_and_no_shell_runs_a_line():
    line = "run --port $PORT --name io-${NAME}@%h 'two words' $(date) ; rm"
    assert command_of(line, {"PORT": "80", "NAME": "a"}) == [
        "run", "--port", "80", "--name", "io-a@%h", "two words", "$(date)", ";", "rm",
    ]  # fmt: skip


@pytest.fixture
def supervise(tmp_path):
    """Makes supervisors that are stopped at the end."""
    made = []

    def make(**scripts):
        said = []
        commands = {}
        for name, script in scripts.items():
            path = tmp_path / f"{name}.py"
            path.write_text(script)
            commands[name] = f"{sys.executable} -u {path}"
        one = Supervisor(
            commands, env=environment(), logs=tmp_path / "logs", say=lambda name, line: said.append((name, line))
        )
        made.append(one)
        return one, said

    yield make
    for one in made:
        one.stop_all()


SLEEPS = "import time\nprint('up')\ntime.sleep(600)\n"


def test_a_killed_process_is_started_again_and_said_so_and_its_neighbour_is_left_alone(supervise, tmp_path):
    supervisor, said = supervise(first=SLEEPS, second=SLEEPS)
    supervisor.start_all()
    eventually(lambda: said.count(("first", "up")) == 1 and said.count(("second", "up")) == 1)
    before, neighbour = supervisor.pid("first"), supervisor.pid("second")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: said.count(("first", "up")) == 2)
    assert supervisor.pid("first") not in {before, None}
    assert supervisor.pid("second") == neighbour
    assert any(name == "first" and "code 137" in line and "restart 1" in line for name, line in said)
    assert (tmp_path / "logs" / "first.log").read_text() == "up\nup\n"


def test_a_process_that_fails_at_once_waits_longer_each_time(supervise):
    supervisor, said = supervise(broken="import sys\nsys.exit(3)\n")
    supervisor.start_all()
    eventually(lambda: len([line for _, line in said if "code 3" in line]) == 3)
    pauses = [line.split("again in ")[1].split(" s")[0] for _, line in said if "code 3" in line]
    assert pauses == ["0.5", "1", "2"]


def test_stop_ends_in_order_and_nothing_is_started_again(supervise):
    polite = (
        "import signal, sys, time\n"
        "def end(*_):\n    print('ending')\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('up')\ntime.sleep(600)\n"
    )
    supervisor, said = supervise(polite=polite)
    supervisor.start_all()
    eventually(lambda: ("polite", "up") in said)
    pid = supervisor.pid("polite")
    began = time.monotonic()
    supervisor.stop_all()
    assert time.monotonic() - began < 10
    assert ("polite", "ending") in said
    assert not any("starts again" in line for _, line in said)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_too_many_connections_stop_the_start_with_a_line_that_says_how_many(db):
    settings = get_settings()
    check_connections(settings, ["web", "worker", "worker-io", "webhooks", "dispatcher", "flower"])
    with psycopg.connect(settings.database_url) as connection:
        most = int(connection.execute("SHOW max_connections").fetchone()[0])
    greedy = settings.model_copy(update={"db_pool_size": most})
    with pytest.raises(SettingsError, match=rf"AGORA_DB_POOL_SIZE.* {most + 1} connections"):
        check_connections(greedy, ["dispatcher"])


def test_an_erased_server_leaves_no_data(tmp_path):
    server = EmbeddedPostgres(tmp_path)
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("18\n")
    server.erase()
    assert not server.data.exists()
