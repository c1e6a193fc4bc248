"""A child process under its watchdog: it cannot outlive us."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

WATCHDOG = Path(__file__).with_name("watchdog.py")
GRACE_SECONDS = 15.0
EXTRA_SECONDS = 10.0
"""How much longer than the command's grace its watchdog may take."""


@dataclass(slots=True)
class Guarded:
    """A running command. ``popen`` is its watchdog, whose exit code is the command's."""

    popen: "subprocess.Popen[bytes]"
    pipe: int
    grace: float

    @property
    def output(self) -> IO[bytes] | None:
        """Standard output and error of the command, when it was started with a pipe."""
        return self.popen.stdout

    def child_pid(self) -> int | None:
        """The command's own process id."""
        listing = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        try:
            children = listing.read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def stop(self) -> int:
        """Stop the command in order, then by force; returns its exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            code = self.popen.wait(self.grace + EXTRA_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            code = self.popen.wait()
        self.close()
        return code

    def close(self) -> None:
        """Let go of the pipe."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
        if self.popen.stdout is not None:
            self.popen.stdout.close()


def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    output: IO[bytes] | int | None = subprocess.PIPE,
    cwd: Path | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    grace: float = GRACE_SECONDS,
    owner: tuple[int, int] | None = None,
) -> Guarded:
    """Start a command under a watchdog. ``owner`` is the user and group id to run it as (only root can)."""
    read_end, write_end = os.pipe()
    try:
        watchdog = [
            sys.executable, "-I", "-S", str(WATCHDOG), str(read_end), str(int(stop_signal)), str(grace),
            f"{owner[0]}:{owner[1]}" if owner else "-",
        ]  # fmt: skip
        popen = subprocess.Popen(
            [*watchdog, *command], env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            cwd=cwd, pass_fds=(read_end,), start_new_session=True,
        )  # fmt: skip
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return Guarded(popen=popen, pipe=write_end, grace=grace)
