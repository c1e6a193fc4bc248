"""Dump and restore both databases in one file: a newer Postgres cannot open an older one's data directory.

The file is a tar of two pg_dump custom-format dumps and a manifest with versions, migrations and row counts. Each
database is dumped as of one moment, while everything goes on; the counts are those of that moment. Main comes before
auth, so that the team and the key of every job are there.
"""

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from agora import __version__
from agora.db import migrate
from agora.db.engines import Database
from agora.errors import AgoraError, Conflict
from agora.runtime import restore_queries
from agora.runtime.postgres import binaries
from agora.settings import environment

DATABASES: tuple[Database, ...] = ("main", "auth")
MANIFEST = "manifest.json"
FORMAT = 1


class DumpFailed(AgoraError):
    """The databases could not be dumped or restored."""

    slug = "dump-failed"


def dump(urls: Mapping[Database, str], target: Path) -> dict[str, Any]:
    """Write both databases into ``target``; returns the manifest.

    Raises:
        DumpFailed: pg_dump failed; nothing is left behind.
    """
    manifest: dict[str, Any] = {"format": FORMAT, "agora": __version__, "made_at": datetime.now(UTC).isoformat()}
    partial = target.with_name(f"{target.name}.partial")
    try:
        with tempfile.TemporaryDirectory() as folder, tarfile.open(partial, "w") as archive:
            for name in DATABASES:
                path = Path(folder) / f"{name}.dump"
                rows = _dump_one(urls[name], path)
                manifest[name] = {"migration": migrate.current(name, urls[name]), "rows": rows}
                archive.add(path, f"{name}.dump")
            text = json.dumps(manifest, indent=2).encode()
            entry = tarfile.TarInfo(MANIFEST)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def _dump_one(url: str, path: Path) -> dict[str, int]:
    """Dump one database as of one moment; returns its row counts at that moment."""
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        # It says nothing while pg_dump works, and the role may be told that its transactions must not be silent.
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        (snapshot,) = connection.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
        _run("pg_dump", url, "--format=custom", "--no-owner", f"--snapshot={snapshot}", f"--file={path}")
        return _count(connection)


def restore(urls: Mapping[Database, str], source: Path, *, force: bool = False) -> dict[str, Any]:
    """Restore both databases from ``source``, then migrate them to this version; returns the manifest.

    Nothing of the dumped platform goes on: what its workers had under way is due again, no try of it burnt, and its
    rings and workers are forgotten.

    Raises:
        Conflict: a database holds tables already, and ``force`` is not given.
        DumpFailed: the file is no dump of Agora, or pg_restore failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        manifest = _unpack(source, Path(folder))
        for name in DATABASES:
            if _holds_tables(urls[name]) and not force:
                raise Conflict(f"the {name} database is not empty; --force replaces what it holds")
        for name in DATABASES:
            _empty(urls[name])
            path = str(Path(folder) / f"{name}.dump")
            _run("pg_restore", urls[name], "--no-owner", "--exit-on-error", "--single-transaction", path)
            migrate.upgrade(name, urls[name])
        with psycopg.connect(urls["main"]) as connection:
            restore_queries.let_go(connection)
    return manifest


def _unpack(source: Path, folder: Path) -> dict[str, Any]:
    try:
        with tarfile.open(source) as archive:
            for member in (MANIFEST, *(f"{name}.dump" for name in DATABASES)):
                # Only these names, and only as plain files: nothing in a foreign archive decides where it is written.
                content = archive.extractfile(member)
                if content is None:
                    raise DumpFailed(f"{source} is no dump of Agora: {member} is no file")
                with content, (folder / member).open("wb") as copied:
                    shutil.copyfileobj(content, copied)
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise DumpFailed(f"{source} is no dump of Agora: {error}") from None
    if manifest.get("format") != FORMAT:
        raise DumpFailed(f"{source} has format {manifest.get('format')}, this version reads {FORMAT}")
    return manifest


def _run(program: str, url: str, *arguments: str) -> None:
    """Run a Postgres program. The password goes through the environment: arguments are seen by every user."""
    given = conninfo_to_dict(url)
    env = environment() | {"PGPASSWORD": str(given.pop("password", "") or "")}
    where = [f"--{option}={given[key]}" for key, option in OPTIONS.items() if given.get(key)]
    done = subprocess.run(
        [str(binaries() / program), *where, *arguments], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DumpFailed(f"{program}: {done.stderr.strip()[-500:]}")


OPTIONS = {"host": "host", "port": "port", "user": "username", "dbname": "dbname"}


def _tables(connection: psycopg.Connection[tuple[Any, ...]]) -> list[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        " AND NOT relispartition ORDER BY relname"
    )
    return [name for (name,) in rows]


def _holds_tables(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return bool(_tables(connection))


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


def count_rows(url: str) -> dict[str, int]:
    """The number of rows of each table."""
    with psycopg.connect(url) as connection:
        return _count(connection)


def _count(connection: psycopg.Connection[tuple[Any, ...]]) -> dict[str, int]:
    counts = {}
    for name in _tables(connection):
        found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
        counts[name] = found[0] if found else 0
    return counts
