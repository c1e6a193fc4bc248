"""The bytes: any fsspec store, addressed by paths that are made from ids and hashes, never from people's names."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any, BinaryIO
from uuid import uuid4

import fsspec

from agora.errors import NotFound, TooLarge
from agora.settings import get_settings

CHUNK = 256 * 1024
ASIDE = "aside"
"""Where content waits that is about to be deleted; it is still read from there."""


@lru_cache(maxsize=4)
def _filesystem(url: str) -> tuple[Any, str]:
    filesystem, root = fsspec.core.url_to_fs(url)  # the operator's address, not a user's: no egress guard
    return filesystem, root.rstrip("/")


def _at(location: str) -> tuple[Any, str]:
    filesystem, root = _filesystem(get_settings().resolved_files_url)
    return filesystem, f"{root}/{location}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What was written: its size in bytes and its SHA-256 in hex."""

    size: int
    sha256: str


def write(location: str, chunks: Iterator[bytes], *, limit: int) -> Written:
    """Write a stream; it appears under its location only when it is whole.

    Raises:
        TooLarge: the stream has more than ``limit`` bytes; nothing is left behind.
    """
    filesystem, path = _at(location)
    partial = f"{path}.{uuid4().hex}.partial"
    filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    digest, size = hashlib.sha256(), 0
    try:
        with filesystem.open(partial, "wb") as target:
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLarge(  # noqa: TRY301  # the clean-up below is for this too
                        f"the file has more than {limit} bytes (AGORA_MAX_FILE_BYTES)"
                    )
                digest.update(chunk)
                target.write(chunk)
        filesystem.mv(partial, path)
    except BaseException:
        if filesystem.exists(partial):
            filesystem.rm(partial)
        raise
    return Written(size=size, sha256=digest.hexdigest())


def open_stream(location: str) -> BinaryIO:
    """A stream of what was written. Raises NotFound when the store has lost it."""
    for place in (location, f"{ASIDE}/{location}"):
        filesystem, path = _at(place)
        try:
            stream: BinaryIO = filesystem.open(path, "rb")
        except FileNotFoundError:
            continue
        return stream
    raise NotFound("the content is no longer in the file store")


def put_aside(location: str) -> None:
    """Move content that nobody seems to need to where it is still found; without content nothing happens."""
    _move(location, f"{ASIDE}/{location}")


def take_back(location: str) -> None:
    """Undo :func:`put_aside`."""
    _move(f"{ASIDE}/{location}", location)


def remove_aside(location: str) -> None:
    """Delete what was put aside."""
    filesystem, path = _at(f"{ASIDE}/{location}")
    with suppress(FileNotFoundError):
        filesystem.rm_file(path)


def remove_all(folder: str) -> bool:
    """Delete everything below a folder, also what was put aside of it; False when there was nothing."""
    found = False
    for place in (folder, f"{ASIDE}/{folder}"):
        filesystem, path = _at(place)
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)
            found = True
    return found


def list_all(folder: str) -> list[str]:
    """The locations of everything below a folder, also of what was put aside of it."""
    found: set[str] = set()
    for place in (folder, f"{ASIDE}/{folder}"):
        filesystem, path = _at(place)
        _, root = _at("")
        names = filesystem.find(path) if filesystem.exists(path) else []
        found |= {name.removeprefix(root).removeprefix(f"{ASIDE}/") for name in names if not name.endswith(".partial")}
    return sorted(found)


def _move(source: str, target: str) -> None:
    filesystem, path = _at(source)
    _, to = _at(target)
    filesystem.makedirs(to.rsplit("/", 1)[0], exist_ok=True)
    with suppress(FileNotFoundError):
        filesystem.mv(path, to)


def exists(location: str) -> bool:
    """Whether there is content at a location."""
    filesystem, path = _at(location)
    return bool(filesystem.exists(path))


def chunks_of(stream: IO[bytes]) -> Iterator[bytes]:
    """The stream in pieces."""
    while chunk := stream.read(CHUNK):
        yield chunk
