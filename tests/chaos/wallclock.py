"""A wall clock that the harness can move, for one worker and its children.

There is no libfaketime in a wheel, so this is a seam inside the process: every name in Agora, Celery and Kombu that
tells the time of day is replaced. The monotonic clock goes on, as it does when a machine's clock is set. The offset is
in a file that is mapped into memory, so that the harness moves the clock of a running worker.
"""

import mmap
import os
import secrets
import struct
import sys
import time
from datetime import datetime
from pathlib import Path

from typeid import TypeID
from uuid_utils import UUID

from agora import clock, ids

MOVED = ("agora", "workers", "celery", "kombu")
_SIZE = struct.calcsize("d")


def path_of(directory, instance):
    """The file with the offset of a worker's clock, in seconds."""
    return Path(directory) / f"clock-{instance}"


def move(directory, instance, seconds):
    """Set the clock of a worker off by so much."""
    with path_of(directory, instance).open("r+b") as file:
        file.write(struct.pack("d", seconds))


def prepare(directory, instance):
    """Make the file of a worker that is about to start."""
    path_of(directory, instance).write_bytes(struct.pack("d", 0.0))


def install():
    """Let this process tell the moved time, if the harness prepared it for that."""
    directory, instance = os.environ.get("CHAOS_DIR", ""), os.environ.get("AGORA_INSTANCE", "")
    if not directory or not path_of(directory, instance).exists():
        return
    with path_of(directory, instance).open("rb") as file:
        shared = mmap.mmap(file.fileno(), _SIZE, prot=mmap.PROT_READ)
    _replace(lambda: struct.unpack("d", shared[:_SIZE])[0])


def _replace(offset):
    real_time, real_ns, real_id = time.time, time.time_ns, ids.new_id

    def moved_time():
        return real_time() + offset()

    def moved_ns():
        return real_ns() + int(offset() * 1e9)

    def moved_now():
        return datetime.fromtimestamp(moved_time(), clock.UTC)

    def moved_id(prefix):
        if not offset():
            return real_id(prefix)
        ids.PREFIXES[prefix]
        low = secrets.randbits(76) & ~(0x3 << 62) | 0x2 << 62
        number = int(moved_time() * 1000) << 80 | 0x7 << 76 | low
        return str(TypeID.from_uuid(UUID(int=number), prefix))

    class Moved(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(moved_time(), tz)

    pairs = ((real_time, moved_time), (real_ns, moved_ns), (real_id, moved_id), (clock.now, moved_now))
    moved = {id(real): instead for real, instead in pairs}
    time.time, time.time_ns = moved_time, moved_ns
    for module in [found for name, found in sys.modules.items() if name.split(".")[0] in MOVED]:
        for attribute, value in list(vars(module).items()):
            if id(value) in moved:
                setattr(module, attribute, moved[id(value)])
    import celery.worker.request  # noqa: PLC0415  # tells whether a message has expired

    celery.worker.request.datetime = Moved
