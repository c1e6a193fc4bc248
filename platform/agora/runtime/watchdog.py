"""Run one command and see to it that it ends when its starter does, whichever way that ends.

Started by path with a bare interpreter, so it imports the standard library only and starts in milliseconds:

    python -I -S watchdog.py FD SIGNAL GRACE UID:GID|- COMMAND [ARGUMENT ...]

FD is the read end of a pipe whose write end the starter holds: end of file means that the starter is gone. Then, or at
SIGTERM, the command's main process gets SIGNAL, has GRACE seconds, and its whole group is killed.
"""

import os
import select
import signal
import subprocess
import sys
import time
from typing import Any


def main(arguments: list[str]) -> int:
    """Watch over one command; returns its exit code, 128 + n when signal n ended it."""
    pipe, number, grace, owner, *command = arguments
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_write)
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the starter decides the order
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, **as_user(owner))
    while child.poll() is None and not stopping:
        readable, _, _ = select.select([int(pipe), wake_read], [], [], 5.0)
        if wake_read in readable:
            drain(wake_read)
        if int(pipe) in readable and not os.read(int(pipe), 64):
            stopping.append(1)
    if child.poll() is None:
        stop(child, int(number), float(grace))
    kill_group(child.pid)
    code: int = child.returncode
    return code if code >= 0 else 128 - code


def as_user(owner: str) -> dict[str, Any]:
    """What makes the command run as another user; nothing for ``-``."""
    if owner == "-":
        return {}
    uid, _, gid = owner.partition(":")
    return {"user": int(uid), "group": int(gid), "extra_groups": []}


def drain(end: int) -> None:
    """Empty the wake-up pipe."""
    try:
        while os.read(end, 512):
            pass
    except BlockingIOError:
        return


def stop(child: "subprocess.Popen[bytes]", number: int, grace: float) -> None:
    """Ask the main process to end, and wait for it as long as it has grace."""
    child.send_signal(number)
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        kill_group(child.pid)
        child.wait(5)


def kill_group(group: int) -> None:
    """Kill what is left of the command's process group."""
    for _ in range(3):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
