"""The bytes: any fsspec store, addressed by paths that are made from ids and hashes, never from people's names."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any, BinaryIO
from uuid import uuid4

import fsspec

from agora.errors import NotFound, TooLarge
from agora.settings import get_settings

CHUNK = 256 * 1024


@lru_cache(maxsize=4)
def _filesystem(url: str) -> tuple[Any, str]:
    filesystem, root = fsspec.core.url_to_fs(url)
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
    filesystem, path = _at(location)
    try:
        stream: BinaryIO = filesystem.open(path, "rb")
    except FileNotFoundError:
        raise NotFound("the content is no longer in the file store") from None
    return stream


def exists(location: str) -> bool:
    """Whether there is content at a location."""
    filesystem, path = _at(location)
    return bool(filesystem.exists(path))


def chunks_of(stream: IO[bytes]) -> Iterator[bytes]:
    """The stream in pieces."""
    while chunk := stream.read(CHUNK):
        yield chunk
