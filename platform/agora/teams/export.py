"""Export all of one team: a line of JSON for each row, its files, and a manifest that proves what is there."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agora import __version__
from agora.audit import service as audit
from agora.db.engines import Database
from agora.db.session import transaction
from agora.errors import Conflict
from agora.files import store
from agora.teams import queries
from agora.teams.service import find_team

FORMAT = 1
MANIFEST = "manifest.json"
DATABASES: tuple[Database, ...] = ("main", "auth")
FOLDERS = ("files", "values")


def export_team(name: str, target: Path) -> dict[str, Any]:
    """Write all of a team into the folder ``target``; returns the manifest.

    ``<database>/<table>.jsonl`` has the rows, ``files/…`` the content of its files and large values. Each database is
    seen as of one moment, main before auth, so that every key that a job names is there. Hashes of API keys and the
    secrets of webhook endpoints are left out.

    Raises:
        NotFound: there is no such team.
        Conflict: ``target`` exists; nothing is written.
    """
    if target.exists():
        raise Conflict(f"{target} exists")
    team_id, team_name = find_team(name)
    with transaction("auth") as session:  # first: no export without its entry, which it also contains
        audit.record(session, "team.exported", team_id, team_id=team_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {
        "format": FORMAT, "agora": __version__, "made_at": datetime.now(UTC).isoformat(),
        "team": {"id": team_id, "name": team_name}, "left_out": sorted(".".join(pair) for pair in queries.SECRET),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".agora-export-") as made:
        whole = Path(made) / "export"
        for database in DATABASES:
            manifest[database] = _write_tables(database, whole / database, team_id)
        manifest["files"] = {
            location: _write(whole / location, _content(location))
            for folder in FOLDERS
            for location in store.list_all(f"{folder}/{team_id}")
        }
        (whole / MANIFEST).write_text(json.dumps(manifest, indent=2), "utf-8")
        shutil.move(whole, target)
    return manifest


def _write_tables(database: Database, folder: Path, team_id: str) -> dict[str, Any]:
    written = {}
    with transaction(database) as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        for table in queries.list_tables(session, team_id=team_id):
            counted = _Counted(queries.stream_rows(session, table, team_id=team_id))
            written[table.name] = _write(folder / f"{table.name}.jsonl", counted) | {"rows": counted.count}
    return written


class _Counted:
    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines, self.count = lines, 0

    def __iter__(self) -> Any:
        for line in self._lines:
            self.count += 1
            yield line


def _content(location: str) -> Iterable[bytes]:
    with store.open_stream(location) as stream:
        yield from store.chunks_of(stream)


def _write(path: Path, chunks: Iterable[bytes]) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as target:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}
