"""Reads documents of strangers in a process of its own, which has little time, little memory and no secrets.

A small file can make any parser work for hours or fill the memory of the machine. What happens to this process
happens to nobody else: the step that reads the document fails with a defined error, and its worker goes on.
"""

import json
import logging
import os
import resource
import subprocess
import sys
import time
from select import PIPE_BUF
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import IO, Any, Final, cast

from pydantic import TypeAdapter

from agora.documents.errors import DocumentCorrupt, DocumentError, DocumentTooLong
from agora.documents.model import Document
from agora.documents.read import read_document

MEMORY: Final = 2 * 1024**3
"""Bytes of address space. A document of a thousand pages takes a fifth of it."""
SECONDS: Final = 120
"""Of processor time. A document of a thousand pages takes a third of it."""
WRITTEN: Final = 256 * 1024**2
"""Bytes that it may write into a file: the model of languages unpacks itself into a temporary one."""
TOLD: Final = 128 * 1024**2
"""Bytes that it may answer. A document of as many characters as are read, in any script, takes half of it."""
COMPLAINED: Final = 4 * 1024
"""Bytes of what it complained of last that are kept."""
PATIENCE: Final = 3
"""How often that a clock on the wall may show: the machine has others to serve."""
_DOCUMENT: Final = TypeAdapter(Document)
_PIECE: Final = 64 * 1024


def read_isolated(
    data: bytes, media_type: str | None, name: str, *, memory: int = MEMORY, seconds: int = SECONDS
) -> Document:
    """The document as plain text, as by ``read_document``.

    Raises DocumentError's children; RuntimeError for a fault of ours, which says what it was.
    """
    command = [sys.executable, "-P", "-m", __name__, str(memory), str(seconds), media_type or "", name]
    try:
        done = _run(command, data, time.monotonic() + seconds * PATIENCE)
    except TimeoutError:
        raise _too_slow(name, seconds) from None
    except OverflowError:
        raise DocumentTooLong(f"{name} becomes more than {TOLD // 1024**2} MiB when it is read") from None
    if done.returncode == 0:
        return _DOCUMENT.validate_json(done.stdout)
    if done.returncode == 1 and done.stdout:
        raise _told(json.loads(done.stdout))
    if done.returncode < 0:
        raise _killed(-done.returncode, name, seconds)
    complaint = done.stderr.decode(errors="replace")
    raise RuntimeError(f"the reader of documents ended with {done.returncode}: {complaint}")


def _run(command: list[str], data: bytes, until: float) -> subprocess.CompletedProcess[bytes]:
    """As ``subprocess.run``, which would keep whatever the process writes, however much.

    Raises TimeoutError, or OverflowError when it answers more than ``TOLD``; it has been killed then.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/", env=_environment()) as process:
        try:
            out, err = _converse(process, data, until)
            code = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            process.kill()  # nothing, if it has ended
    return subprocess.CompletedProcess(command, code, out, err)


def _converse(process: subprocess.Popen[bytes], data: bytes, until: float) -> tuple[bytes, bytes]:
    """Tell a process everything, and hear what it answers and what it complained of last, until it says no more."""
    pipes = (process.stdin, process.stdout, process.stderr)
    stdin, stdout, stderr = (cast("IO[bytes]", pipe) for pipe in pipes)
    given, heard = memoryview(data), {stdout: bytearray(), stderr: bytearray()}
    with DefaultSelector() as ready:
        for pipe, event in ((stdin, EVENT_WRITE), (stdout, EVENT_READ), (stderr, EVENT_READ)):
            ready.register(pipe, event)
        while ready.get_map():
            if time.monotonic() > until:
                raise TimeoutError
            for pipe in [cast("IO[bytes]", key.fileobj) for key, _ in ready.select(until - time.monotonic())]:
                if pipe is stdin:
                    given = _tell(pipe, given)
                    goes_on = bool(given)
                else:
                    piece = os.read(pipe.fileno(), _PIECE)
                    heard[pipe] += piece
                    goes_on = bool(piece)
                if not goes_on:
                    ready.unregister(pipe)
                    pipe.close()
            if len(heard[stdout]) > TOLD:
                raise OverflowError
            del heard[stderr][:-COMPLAINED]
    return bytes(heard[stdout]), bytes(heard[stderr])


def _tell(pipe: IO[bytes], given: memoryview) -> memoryview:
    """Write as much as a pipe takes without making us wait. Returns what is left; nothing when nobody listens."""
    try:
        return given[os.write(pipe.fileno(), given[:PIPE_BUF]) :]
    except BrokenPipeError:
        return given[:0]


def _environment() -> dict[str, str]:
    """Where its modules are, and nothing of ours: no keys, no addresses of databases."""
    return {
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",  # each of its threads would reserve memory
    }


def _too_slow(name: str, seconds: int) -> DocumentTooLong:
    return DocumentTooLong(f"{name} takes more than {seconds} seconds to read")


def _killed(signal: int, name: str, seconds: int) -> DocumentError:
    from signal import SIGKILL, SIGXCPU  # noqa: PLC0415  # SIGXCPU is not everywhere

    if signal in {SIGXCPU, SIGKILL}:
        return _too_slow(name, seconds)
    return DocumentCorrupt(f"the reader broke down over {name} (signal {signal})")


def _told(error: dict[str, Any]) -> DocumentError:
    kinds: dict[str, type[DocumentError]] = {kind.slug: kind for kind in DocumentError.__subclasses__()}
    return kinds[error["slug"]](error["detail"], **error["extra"])


def _confine(memory: int, seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (WRITTEN, WRITTEN))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(memory: int, seconds: int, media_type: str, name: str) -> int:
    """What the process does: the document or the error goes to standard output, as JSON."""
    _confine(memory, seconds)
    logging.disable()  # a parser complains of each of a document's faults, and the worker would keep it all
    try:
        try:
            document = read_document(sys.stdin.buffer.read(), media_type or None, name)
            out = _DOCUMENT.dump_json(document)
        except MemoryError:
            raise DocumentTooLong(f"{name} takes more than {memory // 1024**2} MiB to read") from None
    except DocumentError as error:
        sys.stdout.write(json.dumps({"slug": error.slug, "detail": str(error), "extra": error.extra}))
        return 1
    sys.stdout.buffer.write(out)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
