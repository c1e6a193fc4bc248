"""The whole platform on one machine: services, migrations, a development key, and the Procfile's processes."""

import fcntl
import json
import os
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import unquote, urlsplit

from agora.db import engines, migrate
from agora.errors import AgoraError, SettingsError
from agora.identity import service as identity
from agora.runtime.connections import check_connections
from agora.runtime.ports import next_free
from agora.runtime.postgres import EmbeddedPostgres, write_secret
from agora.runtime.supervisor import Supervisor, read_procfile
from agora.runtime.valkey import EmbeddedValkey
from agora.settings import Settings, environment, get_settings, load_settings, override_environment

LOOPBACK_EGRESS = "127.0.0.0/8,::1/128"
MAIL_FOLDER = "mail"
READY_SECONDS = 60.0
DEVELOPMENT_TEAM = "development"


class DataDirHeld(AgoraError):
    """Another Agora uses this data directory."""

    slug = "data-dir-held"


def say_nothing(_name: str, _line: str) -> None:
    """Swallow a line of output; it is in the log file."""


@dataclass(slots=True)
class Platform:
    """Everything that runs together, as a context manager: whatever it started is stopped when the block ends.

    ``env`` are settings for the processes on top of the environment's; ``only`` names the processes of the Procfile to
    start; ``fsync`` off is for tests. After start: ``url``, ``api_key``, ``env``, and ``processes`` to stop and start.
    """

    data_dir: Path
    settings: Settings = field(default_factory=get_settings)
    env: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    fsync: bool = True
    say: Callable[[str, str], None] = say_nothing
    api_key: str = ""
    postgres: EmbeddedPostgres | None = None
    valkey: EmbeddedValkey | None = None
    _lock: IO[str] | None = None
    _processes: Supervisor | None = None
    _failures: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the API listens."""
        return f"http://{self.env['AGORA_HOST']}:{self.env['AGORA_PORT']}"

    @property
    def flower_url(self) -> str:
        """Where Flower listens."""
        return f"http://127.0.0.1:{self.env['AGORA_FLOWER_PORT']}"

    @property
    def processes(self) -> Supervisor:
        """The supervised processes."""
        assert self._processes is not None  # noqa: S101  # start() came before
        return self._processes

    def start(self) -> None:
        """Start all of it and wait until it is ready.

        Raises:
            DataDirHeld: another Agora uses the data directory.
            SettingsError: a service does not start, or the platform does not become ready.
        """
        self.prepare()
        commands = read_procfile(find_procfile().read_text())
        if self.only:
            commands = {name: commands[name] for name in self.only}
        check_connections(load_settings(environment() | self.env), commands)
        full = environment() | self.env
        self._processes = Supervisor(commands, env=full, logs=self.data_dir / "logs", say=self.say)
        self._processes.start_all()
        if "web" in commands:
            self._wait_until_ready()
        self._write_run_file()

    def prepare(self) -> None:
        """Start the services and make everything ready for the processes, but start none. ``stop`` ends it.

        Raises:
            DataDirHeld: another Agora uses the data directory.
            SettingsError: a service does not start, or a setting is wrong.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        self._start_services()
        self._fill_environment()
        self._make_ready()

    def stop(self) -> None:
        """Stop all of it, processes before services."""
        if self._processes is not None:
            self._processes.stop_all()
        for service in (self.valkey, self.postgres):
            if service is not None:
                service.stop()
        (self.data_dir / "run.json").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        path = self.data_dir / "lock"
        lock = path.open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            lock.close()
            raise DataDirHeld(f"{self.data_dir} is in use by {holder}") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        lock.flush()
        self._lock = lock

    def _start_services(self) -> None:
        missing = [name for name in ("database_url", "auth_database_url") if not getattr(self.settings, name)]
        if len(missing) == 1:
            raise SettingsError(f"{missing[0].upper()}: must be set too, or neither of the two database URLs")
        starters = []
        if missing:
            self.postgres = EmbeddedPostgres(self.data_dir, fsync=self.fsync)
            starters.append(threading.Thread(target=self._collect, args=(self.postgres.start,)))
        if not self.settings.redis_url:
            self.valkey = EmbeddedValkey(self.data_dir)
            starters.append(threading.Thread(target=self._collect, args=(self.valkey.start,)))
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
        if self._failures:
            raise self._failures[0]

    def _collect(self, start: Callable[[], None]) -> None:
        try:
            start()
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits
            self._failures.append(error)

    def _fill_environment(self) -> None:
        taken: set[int] = set()
        made = {
            "DATABASE_URL": self.postgres.url("agora_main") if self.postgres else self.settings.database_url,
            "AUTH_DATABASE_URL": self.postgres.url("agora_auth") if self.postgres else self.settings.auth_database_url,
            "REDIS_URL": self.valkey.url if self.valkey else self.settings.redis_url,
            "AGORA_DATA_DIR": str(self.data_dir.resolve()),
            "AGORA_HOST": self.settings.host,
            "AGORA_INSTANCE": secrets.token_hex(3),
            "AGORA_SECRET_KEY": self.settings.secret_key.get_secret_value() or self._kept_secret("secret.key"),
            "AGORA_FLOWER_PASSWORD": self.settings.flower_password.get_secret_value()
            or self._kept_secret("flower.key"),
        }
        if self.postgres and not self.settings.mail_url:
            # Whoever tries the platform on one machine reads its mails there. One with a database of its own is told.
            made["AGORA_MAIL_URL"] = (self.data_dir.resolve() / MAIL_FOLDER).as_uri()
        for variable, wanted in (("AGORA_PORT", self.settings.port), ("AGORA_FLOWER_PORT", self.settings.flower_port)):
            port = next_free(wanted, self.settings.host, frozenset(taken))
            taken.add(port)
            made[variable] = str(port)
        given = environment()
        if not any(name.startswith("AGORA_EGRESS_") for name in given):
            # A platform on one machine calls back receivers on that machine; nothing else is opened.
            made |= {"AGORA_EGRESS_ALLOW": LOOPBACK_EGRESS, "AGORA_EGRESS_PORTS": "any", "AGORA_EGRESS_ALLOW_HTTP": "1"}
        self.env = made | self.env

    def _kept_secret(self, name: str) -> str:
        path = self.data_dir / name
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(32))
        return path.read_text().strip()

    def _make_ready(self) -> None:
        """Check the settings that the processes will see, migrate, and see to the development key."""
        load_settings(environment() | self.env)
        with override_environment(self.env):
            found = get_settings()
            migrate.upgrade("auth", found.auth_database_direct_url or found.auth_database_url)
            migrate.upgrade("main", found.database_direct_url or found.database_url)
            engines.set_defaults(found)
            self.api_key = self._development_key()
            engines.dispose_all()

    def _development_key(self) -> str:
        path = self.data_dir / "development.key"
        if path.exists():
            key = path.read_text().strip()
            try:
                identity.authenticate(key)
            except AgoraError:
                path.unlink()  # of another database, or revoked: a new one is made
            else:
                return key
        team = identity.ensure_team(DEVELOPMENT_TEAM)
        key = identity.create_key(team, "development", ["*", "queues:write"]).plain or ""
        write_secret(path, key)
        return key

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        detail = "no answer"
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):  # noqa: S310  # our own loopback URL: no guard
                    return
            except urllib.error.HTTPError as error:
                detail = error.read(500).decode(errors="replace")
            except OSError as error:
                detail = str(error)
            time.sleep(0.1)
        raise SettingsError(f"the API at {self.url} does not become ready: {detail}")

    def _write_run_file(self) -> None:
        """What the command line finds a running platform by."""
        run = {"url": self.url, "api_key": self.api_key, "flower_url": self.flower_url, "pid": os.getpid()}
        write_secret(self.data_dir / "run.json", json.dumps(run))


def find_procfile() -> Path:
    """The Procfile: of the working copy, or the one shipped in the wheel. Raises SettingsError."""
    here = Path(__file__).resolve()
    for candidate in (here.parents[3] / "Procfile", here.with_name("Procfile")):
        if candidate.exists():
            return candidate
    raise SettingsError("the Procfile is missing from this installation")


def describe(platform: Platform) -> Iterable[tuple[str, str]]:
    """What a person needs to know of a running platform: label and value."""
    password = platform.env["AGORA_FLOWER_PASSWORD"]
    yield "API", f"{platform.url}/api/v1"
    yield "Docs", f"{platform.url}/docs"
    if not platform.only or "flower" in platform.only:
        yield "Flower", f"{platform.flower_url}  (user agora, password {password})"
    yield "API key", platform.api_key
    if mail_url := platform.env.get("AGORA_MAIL_URL"):
        yield "Mail", f"{unquote(urlsplit(mail_url).path)}  (a file each; AGORA_MAIL_URL sends them)"
    yield "Data", str(platform.data_dir.resolve())


def moved_ports(platform: Platform) -> Mapping[str, tuple[int, int]]:
    """Ports that were taken: wanted and used, by name."""
    pairs = {
        "API": (platform.settings.port, int(platform.env["AGORA_PORT"])),
        "Flower": (platform.settings.flower_port, int(platform.env["AGORA_FLOWER_PORT"])),
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
