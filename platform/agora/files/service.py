"""Store and read files of a team, and values that are too large for a row."""

import hashlib
import io
import mimetypes
from dataclasses import dataclass
from datetime import datetime
from typing import IO, BinaryIO

from agora.audit import service as audit
from agora.db.session import transaction
from agora.errors import NotFound, TooLarge, invalid_field
from agora.files import queries, store
from agora.files.models import FileRow
from agora.ids import id_from_bytes, is_id, new_id
from agora.paging import NEWEST_FIRST, Page, Span, cut
from agora.quotas import tiers
from agora.quotas.room import check_storage
from agora.quotas.types import QuotaExceeded
from agora.settings import get_settings

MAX_NAME = 255
DEFAULT_TYPE = "application/octet-stream"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A file of a team; size in bytes, SHA-256 in hex."""

    id: str
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime


def _view(row: FileRow) -> StoredFile:
    return StoredFile(
        id=row.id, name=row.name, media_type=row.media_type, size=row.size, sha256=row.sha256, created_at=row.created_at
    )


def clean_name(name: str) -> str:
    """The last part of a file name, as it is shown. Raises Invalid for one that is empty, too long or not printable."""
    short = name.replace("\\", "/").rsplit("/", 1)[-1].strip()
    if not short or len(short) > MAX_NAME or not short.isprintable():
        raise invalid_field("/name", "file-name", f"name must have 1 to {MAX_NAME} printable characters", name[:100])
    return short


def store_file(
    name: str, stream: IO[bytes], *, team_id: str, media_type: str = "", file_id: str | None = None
) -> StoredFile:
    """Store a stream as a file.

    Raises:
        Invalid: the name is not acceptable.
        TooLarge: the stream is longer than ``max_file_bytes``; nothing is left behind.
        QuotaExceeded: the team's tier has no room for it; likewise.
    """
    name = clean_name(name)
    guessed = media_type or mimetypes.guess_type(name)[0] or DEFAULT_TYPE
    uploaded = file_id is None  # else a step has made it
    file_id = file_id or new_id("fil")
    location, limit = f"files/{team_id}/{file_id}", tiers.of(team_id).storage_bytes
    written = store.write(location, store.chunks_of(stream), limit=get_settings().max_file_bytes)
    try:
        with transaction() as session:
            inserted = queries.insert_file(
                session, team_id=team_id, file_id=file_id, name=name, media_type=guessed, size=written.size,
                sha256=written.sha256, location=location,
            )  # fmt: skip
            row = queries.find_file(session, team_id=team_id, file_id=file_id)
            assert row is not None  # noqa: S101  # just inserted, or by an earlier try under the same id
            if inserted:
                check_storage(session, team_id, written.size, limit=limit)
            if uploaded:
                told = {"name": name, "media_type": guessed, "size": written.size, "sha256": written.sha256}
                audit.record(session, "file.uploaded", file_id, team_id=team_id, after=told)
            return _view(row)
    except QuotaExceeded:
        store.remove_all(location)
        raise


def get_file(file_id: str, *, team_id: str) -> StoredFile:
    """What is known of a file. Raises NotFound."""
    return _view(_find(file_id, team_id=team_id))


def _find(file_id: str, *, team_id: str) -> FileRow:
    with transaction() as session:
        row = queries.find_file(session, team_id=team_id, file_id=file_id) if is_id(file_id, "fil") else None
    if row is None:
        raise NotFound(f"there is no file {file_id}")
    return row


def open_file(file_id: str, *, team_id: str) -> BinaryIO:
    """A stream of a file's content. Raises NotFound."""
    return store.open_stream(_find(file_id, team_id=team_id).location)


def list_files(
    *, team_id: str, limit: int = 50, cursor: str | None = None, sort: str = NEWEST_FIRST
) -> Page[StoredFile]:  # fmt: skip
    """A page of files. Raises Invalid for a cursor that is none."""
    span = Span.of_ids("fil", limit=limit, cursor=cursor, sort=sort)
    with transaction() as session:
        rows = queries.list_files(session, team_id=team_id, span=span)
        return cut([_view(row) for row in rows], span)


def put_value(team_id: str, data: bytes) -> str:
    """Store a large value under its own hash; returns its location. The same value is stored once."""
    location = f"values/{team_id}/{hashlib.sha256(data).hexdigest()}"
    if not store.exists(location):
        store.write(location, iter([data]), limit=get_settings().max_value_bytes)
    return location


def read_value(location: str) -> bytes:
    """A large value. Raises NotFound when the store has lost it."""
    with store.open_stream(location) as stream:
        return stream.read()


class TeamFiles:
    """The file store as a step sees it: its team's files only. The ``Files`` port of agora.agents."""

    def __init__(self, team_id: str, *, scope: str) -> None:
        self._team_id, self._scope = team_id, scope

    def read(self, file_id: str) -> bytes:
        """The whole content. Raises NotFound; TooLarge for more than ``max_file_bytes``."""
        limit = get_settings().max_file_bytes
        with self.open(file_id) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise TooLarge(f"file {file_id} has more than {limit} bytes (AGORA_MAX_FILE_BYTES)")
        return data

    def open(self, file_id: str) -> BinaryIO:
        """A stream of the content. Raises NotFound."""
        return open_file(file_id, team_id=self._team_id)

    def name_of(self, file_id: str) -> tuple[str, str]:
        """File name and media type. Raises NotFound."""
        found = get_file(file_id, team_id=self._team_id)
        return found.name, found.media_type

    def create(self, name: str, media_type: str, data: bytes) -> str:
        """Store a file; the same scope, name and content give the same id, so that a retry makes no second one."""
        identity = hashlib.sha256(f"{self._scope}:{name}:".encode() + data).digest()
        file_id = id_from_bytes("fil", identity[:16])
        return store_file(name, io.BytesIO(data), team_id=self._team_id, media_type=media_type, file_id=file_id).id
