"""A file store in memory."""

import hashlib
import io
from typing import BinaryIO

from agora.errors import NotFound
from agora.ids import id_from_bytes


class MemoryFiles:
    """The ``Files`` port of agora.agents. ``contents`` is everything in it, by id: name, media type, bytes."""

    def __init__(self) -> None:
        self.contents: dict[str, tuple[str, str, bytes]] = {}
        self.scope = ""

    def read(self, file_id: str) -> bytes:
        """The whole content. Raises NotFound."""
        return self._find(file_id)[2]

    def open(self, file_id: str) -> BinaryIO:
        """A stream of the content. Raises NotFound."""
        return io.BytesIO(self.read(file_id))

    def name_of(self, file_id: str) -> tuple[str, str]:
        """File name and media type. Raises NotFound."""
        name, media_type, _ = self._find(file_id)
        return name, media_type

    def create(self, name: str, media_type: str, data: bytes) -> str:
        """Store a file; the same step, name and content give the same id, as they do in Agora."""
        identity = hashlib.sha256(f"{self.scope}:{name}:".encode() + data).digest()
        file_id = id_from_bytes("fil", identity[:16])
        self.contents[file_id] = (name, media_type, data)
        return file_id

    def _find(self, file_id: str) -> tuple[str, str, bytes]:
        if file_id not in self.contents:
            raise NotFound(f"there is no file {file_id}")
        return self.contents[file_id]
