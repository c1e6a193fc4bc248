"""Runs a Procfile: ordered start and stop, restart with back-off, prefixed logs. One process's end ends no other."""

import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agora.errors import SettingsError
from agora.runtime import process
from agora.settings import get_settings

LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(\S.*)$")
VARIABLE = re.compile(r"\$\{?([A-Z_][A-Z0-9_]*)\}?")
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
SETTLE_SECONDS = 5.0
HEALTHY_SECONDS = 20.0
"""A process that ran so long starts again without a growing pause."""


def read_procfile(text: str) -> dict[str, str]:
    """The commands of a Procfile, by name, in order. Raises SettingsError for a line that is none."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        matched = LINE.match(line)
        if matched is None:
            raise SettingsError(f"Procfile, line {number}: must be `name: command`, not {line!r}")
        found[matched[1]] = matched[2]
    return found


def command_of(line: str, env: Mapping[str, str]) -> list[str]:
    """The words of a Procfile line with its variables filled in; no shell runs it."""
    return shlex.split(VARIABLE.sub(lambda found: env.get(found[1], ""), line))


@dataclass(slots=True)
class Service:
    """One line of the Procfile, and the process that runs it now."""

    name: str
    command: Sequence[str]
    running: process.Guarded | None = None
    restarts: int = 0
    wanted: bool = False
    thread: threading.Thread | None = None
    started: float = 0.0
    wake: threading.Event = field(default_factory=threading.Event)


class Supervisor:
    """Keeps the processes of a Procfile running until it is told to stop."""

    def __init__(
        self,
        commands: Mapping[str, str],
        *,
        env: Mapping[str, str],
        logs: Path,
        say: Callable[[str, str], None],
        cwd: Path | None = None,
    ) -> None:
        self._env, self._logs, self._say, self._cwd = dict(env), logs, say, cwd
        # The programs of this very environment come first, also when it was not activated.
        self._env["PATH"] = f"{Path(sys.executable).parent}:{self._env.get('PATH', '')}"
        self.services = {name: Service(name, command_of(line, self._env)) for name, line in commands.items()}
        logs.mkdir(parents=True, exist_ok=True)

    @property
    def env(self) -> Mapping[str, str]:
        """The environment of the processes."""
        return self._env

    def start_all(self) -> None:
        """Start every process in the Procfile's order."""
        for name in self.services:
            self.start(name)

    def stop_all(self) -> None:
        """Stop every process, those at the end of the Procfile first; each gets its grace, all at once."""
        stoppers = [threading.Thread(target=self.stop, args=(name,)) for name in reversed(self.services)]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()

    def start(self, name: str) -> None:
        """Start one process and keep it running."""
        service = self.services[name]
        if service.wanted:
            return
        service.wanted = True
        service.wake.clear()
        self._spawn(service)
        service.thread = threading.Thread(target=self._watch, args=(service,), name=f"watch-{name}", daemon=True)
        service.thread.start()

    def stop(self, name: str) -> None:
        """Stop one process and keep it stopped."""
        service = self.services[name]
        service.wanted = False
        service.wake.set()
        if service.running is not None and service.running.popen.poll() is None:
            service.running.popen.send_signal(signal.SIGTERM)
        if service.thread is not None:
            service.thread.join(60)
            service.thread = None

    def pid(self, name: str) -> int | None:
        """The process id of a service's main process."""
        running = self.services[name].running
        return running.child_pid() if running is not None else None

    def _spawn(self, service: Service) -> None:
        service.started = time.monotonic()
        # A webhooks worker lets tries under way end, which may take as long as one try.
        grace = max(process.GRACE_SECONDS, get_settings().webhook_timeout + SETTLE_SECONDS)
        service.running = process.start(service.command, env=self._env, cwd=self._cwd, grace=grace)

    def _watch(self, service: Service) -> None:
        pause = FIRST_PAUSE
        while True:
            code = self._follow(service)
            if not service.wanted:
                return
            if time.monotonic() - service.started > HEALTHY_SECONDS:
                pause = FIRST_PAUSE
            service.restarts += 1
            self._say(service.name, f"ended with code {code}; starts again in {pause:g} s (restart {service.restarts})")
            service.wake.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            if not service.wanted:
                return
            self._spawn(service)

    def _follow(self, service: Service) -> int:
        """Pass on a process's output until it ends; returns its exit code."""
        running = service.running
        assert running is not None  # noqa: S101  # _spawn came before
        with (self._logs / f"{service.name}.log").open("ab") as log:
            for line in running.output or ():
                log.write(line)
                log.flush()
                self._say(service.name, line.decode(errors="replace").rstrip())
        code = running.popen.wait()
        running.close()
        return code
