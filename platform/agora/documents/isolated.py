"""Reads documents of strangers in a process of its own, which has little time, little memory and no secrets.

A small file can make any parser work for hours or fill the memory of the machine. What happens to this process
happens to nobody else: the step that reads the document fails with a defined error, and its worker goes on.
"""

import json
import logging
import resource
import subprocess
import sys
from os import pathsep
from typing import Any, Final

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
PATIENCE: Final = 3
"""How often that a clock on the wall may show: the machine has others to serve."""
_DOCUMENT: Final = TypeAdapter(Document)


def read_isolated(
    data: bytes, media_type: str | None, name: str, *, memory: int = MEMORY, seconds: int = SECONDS
) -> Document:
    """The document as plain text, as by ``read_document``.

    Raises DocumentError's children; RuntimeError for a fault of ours, which says what it was.
    """
    command = [sys.executable, "-P", "-m", __name__, str(memory), str(seconds), media_type or "", name]
    try:
        done = subprocess.run(
            command,
            input=data,
            capture_output=True,
            timeout=seconds * PATIENCE,
            check=False,
            cwd="/",
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise _too_slow(name, seconds) from None
    if done.returncode == 0:
        return _DOCUMENT.validate_json(done.stdout)
    if done.returncode == 1 and done.stdout:
        raise _told(json.loads(done.stdout))
    if done.returncode < 0:
        raise _killed(-done.returncode, name, seconds)
    raise RuntimeError(
        f"the reader of documents ended with {done.returncode}: {done.stderr[-2000:].decode(errors='replace')}"
    )


def _environment() -> dict[str, str]:
    """Where its modules are, and nothing of ours: no keys, no addresses of databases."""
    return {
        "PYTHONPATH": pathsep.join(entry for entry in sys.path if entry),
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
