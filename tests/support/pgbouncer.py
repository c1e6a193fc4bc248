"""Debian's PgBouncer without its service: a process of ours on loopback, in transaction mode."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from agora.runtime import process
from agora.runtime.ports import LOOPBACK, free_port
from agora.runtime.postgres import SUPERUSER, server_user, write_secret
from agora.settings import environment

START_SECONDS = 20.0
CONFIG = """
[databases]
* = host=127.0.0.1 port={target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
admin_users = {user}
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 400
query_wait_timeout = 20
"""


class PgBouncer:
    """A context manager. ``sessions`` is how many sessions of Postgres each database has for all clients together."""

    def __init__(self, postgres, *, sessions):
        self._postgres, self._sessions, self.port = postgres, sessions, free_port()
        self._password = postgres.url("").split("@", maxsplit=1)[0].rpartition(":")[2]

    @staticmethod
    def is_installed():
        """Whether this machine has it."""
        return shutil.which("pgbouncer") is not None

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="agora-pgbouncer-")
        folder, owner = Path(self._folder.name), server_user()  # it refuses to be root, as Postgres does
        write_secret(folder / "users", f'"{SUPERUSER}" "{self._password}"\n')
        config = CONFIG.format(
            target=self._postgres.port, port=self.port, folder=folder, user=SUPERUSER, sessions=self._sessions
        )
        write_secret(folder / "pgbouncer.ini", config)
        for path in (folder, *folder.iterdir()) if owner else ():
            os.chown(path, *owner)
        self._log = (folder / "log").open("ab")
        command = ["pgbouncer", str(folder / "pgbouncer.ini")]
        self._running = process.start(command, env=environment(), output=self._log, grace=5.0, owner=owner)
        try:
            self._wait_until_ready(folder)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stop it."""
        self._running.stop()
        self._log.close()
        self._folder.cleanup()

    def url(self, database):
        """The URL of a database through it."""
        return f"postgresql://{SUPERUSER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def console(self, command):
        """What its console answers: rows as dictionaries."""
        with psycopg.connect(self.url("pgbouncer"), autocommit=True, row_factory=dict_row) as connection:
            cursor = psycopg.ClientCursor(connection)  # the console knows the simple protocol only
            cursor.execute(command)
            return cursor.fetchall() if cursor.description else []

    def _wait_until_ready(self, folder):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"PgBouncer does not start: {(folder / 'log').read_text()[-500:]}")
