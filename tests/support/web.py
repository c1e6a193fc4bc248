"""The web server as it is run: gunicorn with its settings, on a free port, spoken to over raw sockets."""

import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agora.runtime.ports import free_port
from agora.settings import environment

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ("-m", "gunicorn", "--config", "python:api.gunicorn_conf", "api.wsgi:app")
START_SECONDS = 40.0


@dataclass
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Wire:
    """A connection on which anything can be said."""

    def __init__(self, port, seconds=15.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self._left = b""

    def send(self, data):
        self.socket.sendall(data)

    def read(self):
        """All that comes until the server closes the connection."""
        parts = [self._left]
        self._left = b""
        try:
            while part := self.socket.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)

    def answer(self):
        """The next answer; None when the connection ended before it."""
        while b"\r\n\r\n" not in self._left:
            if not self._more():
                return None
        head, _, rest = self._left.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        self._left = rest
        while len(self._left) < length:
            assert self._more(), "the answer is cut off"
        body, self._left = self._left[:length], self._left[length:]
        return Answer(int(first.split()[1]), headers, body)

    def _more(self):
        try:
            part = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self._left += part
        return bool(part)

    def close(self):
        self.socket.close()


class Web:
    """A running server."""

    def __init__(self, port):
        self.port = port

    @contextmanager
    def wire(self, seconds=15.0):
        """A connection."""
        made = Wire(self.port, seconds)
        try:
            yield made
        finally:
            made.close()

    def answers(self, data):
        """Every answer to what is sent over one connection, which the server must close by itself."""
        with self.wire() as wire:
            wire.send(data)
            found = []
            while (answer := wire.answer()) is not None:
                found.append(answer)
            return found

    def get(self, path="/healthz"):
        """A plain request."""
        [answer] = self.answers(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return answer


@contextmanager
def gunicorn(log, **settings):
    """A server with these settings besides the test's own, for the length of the block."""
    port = free_port()
    home = {"HOME": str(log.parent), "XDG_RUNTIME_DIR": str(log.parent)}
    env = environment() | home | {"AGORA_PORT": str(port), "AGORA_HOST": "127.0.0.1"} | settings
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, *COMMAND], cwd=ROOT, env=env, stdout=out, stderr=out)
    try:
        _wait(port, process, log)
        yield Web(port)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)


def _wait(port, process, log):
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return Web(port).get()
        except (OSError, ValueError):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
