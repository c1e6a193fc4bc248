"""The tools of the harness hurt what they say they hurt."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from tests.acceptance.conftest import until
from tests.chaos import wallclock
from tests.chaos.faults.processes import frozen
from tests.chaos.faults.world import HOUR, limit_files
from tests.chaos.proxy import Network, Proxy

ROOT = Path(__file__).parents[2]
PYTHONPATH = f"{ROOT}:{ROOT / 'platform'}"


@pytest.fixture
def echo():
    """The port of a server that sends back what it gets, one connection after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    while data := receive(connection):
                        connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def receive(connection):
    try:
        return connection.recv(100)
    except ConnectionError:
        return b""


@pytest.fixture
def proxy(echo):
    network = Network()
    yield Proxy(network, echo)
    network.close()


def dial(proxy, timeout=5.0):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout)


def says(connection, words):
    connection.sendall(words)
    return connection.recv(100)


def is_refused(proxy):
    try:
        with dial(proxy) as connection:
            return says(connection, b"hello") == b""
    except ConnectionError:
        return True


def test_a_proxy_passes_bytes(proxy):
    with dial(proxy) as connection:
        assert says(connection, b"hello") == b"hello"


def test_a_cut_resets_old_and_new_connections_until_it_heals(proxy):
    with dial(proxy) as old:
        assert says(old, b"hello") == b"hello"
        proxy.cut()
        assert receive(old) == b""
    assert is_refused(proxy)
    proxy.heal()
    with dial(proxy) as after:
        assert says(after, b"hello") == b"hello"


def test_a_half_open_connection_says_nothing_and_then_all(proxy):
    with dial(proxy, timeout=0.5) as connection:
        assert says(connection, b"one") == b"one"
        proxy.blackhole()
        with pytest.raises(TimeoutError):
            says(connection, b"two")
        proxy.heal()
        connection.settimeout(5)
        assert connection.recv(100) == b"two"


def test_a_half_open_connection_may_end_in_a_reset(proxy):
    with dial(proxy) as connection:
        assert says(connection, b"one") == b"one"
        proxy.blackhole()
        connection.sendall(b"two")
        proxy.heal(reset=True)
        assert receive(connection) == b""


CLOCK = """
import json, sys, time
from agora import clock, ids
from workers import lifecycle
from tests.chaos import agents
from typeid import TypeID
import celery.worker.request as request
from datetime import UTC
identity = TypeID.from_string(lifecycle.new_id("job")).uuid
told = [time.time(), clock.now().timestamp(), request.datetime.now(UTC).timestamp(), (identity.int >> 80) / 1000]
print(json.dumps([*told, time.monotonic()]))
"""


@pytest.mark.parametrize("jump", [0.0, HOUR, -HOUR])
def test_every_clock_of_a_worker_jumps_but_the_monotonic_one(tmp_path, jump):
    wallclock.prepare(tmp_path, "here")
    wallclock.move(tmp_path, "here", jump)
    env = os.environ | {"CHAOS_DIR": str(tmp_path), "AGORA_INSTANCE": "here", "PYTHONPATH": PYTHONPATH}
    done = subprocess.run([sys.executable, "-c", CLOCK], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    *told, monotonic = json.loads(done.stdout.splitlines()[-1])
    expected = datetime.now(UTC).timestamp() + jump
    assert all(abs(one - expected) < 60 for one in told), (told, expected)
    assert abs(monotonic - time.monotonic()) < 60


WRITER = """
import sys
path = sys.argv[1]
for line in sys.stdin:
    try:
        with open(path, "a") as file:
            file.write("x" * 10)
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that writes to a file for each line that it gets, and says what came of it."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()
        process.send_signal(signal.SIGCONT)  # one that a failed test left frozen would never end


def asked(writer):
    writer.stdin.write("\n")
    writer.stdin.flush()
    return writer.stdout.readline().strip()


def test_a_full_disk_takes_nothing_until_it_has_room_again(writer):
    processes = [psutil.Process(writer.pid)]
    assert asked(writer) == "written"
    limit_files(processes, 0)
    assert asked(writer) == "File too large"
    limit_files(processes, -1)
    assert asked(writer) == "written"


def test_a_frozen_process_does_nothing_and_goes_on_afterwards(writer):
    process = psutil.Process(writer.pid)
    freezing = frozen([process])
    next(freezing)
    until(lambda: process.status() == psutil.STATUS_STOPPED, timeout=10, what="the process is stopped")
    next(freezing, None)
    assert asked(writer) == "written"
