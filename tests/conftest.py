"""Real services for the tests: Postgres and Valkey from wheels, one pair for each test process."""

import ipaddress
import os
import shutil
import socket
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from argon2 import PasswordHasher
from psycopg import sql

from agora.broker import app as celery
from agora.caching import link
from agora.caching.cache import forget_all
from agora.db import engines, migrate
from agora.events import stream
from agora.identity import access_tokens, passwords, throttle, uses
from agora.jobs import catalogue
from agora.quotas import gate
from agora.runtime.postgres import OWNER, SHARED, EmbeddedPostgres
from agora.runtime.valkey import EmbeddedValkey
from agora.settings import get_settings
from api.app import create_app
from tests.support.caller import Caller

SECRET = "tests-only-tests-only-tests-only-tests-only"
UNTOUCHED = {"alembic_version", "tiers"}
FEW = 200


@pytest.fixture(autouse=True, scope="session")
def loopback_only():
    """No test may dial another machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            host = address[0]
            allowed = host == "localhost" or ipaddress.ip_address(host).is_loopback
            assert allowed, f"a test dials {host}"
        return connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def quick_passwords():
    """Argon2id with less work than in earnest: hundreds of tests sign somebody in."""
    patch = pytest.MonkeyPatch()
    patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def uses_are_written_when_asked():
    """No thread writes uses of deprecated features into the databases of whatever test runs just then."""
    patch = pytest.MonkeyPatch()
    patch.setattr(uses, "SECONDS", 86_400)
    yield
    uses._sums.clear()
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def nothing_is_left(tmp_path_factory):
    """As root, data of embedded servers lies outside the temporary folder, which nobody would tidy up."""
    yield
    ours = tmp_path_factory.getbasetemp()
    for owner in SHARED.glob(f"*/{OWNER}"):
        if Path(owner.read_text().strip()).is_relative_to(ours):
            shutil.rmtree(owner.parent)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """An embedded Postgres without fsync, as only tests may have it."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), fsync=False)
    server.start()
    connect_quickly(server.url("postgres"))
    yield server
    server.stop()


def connect_quickly(url):
    """Let the password be checked with less work than in earnest: a test opens several connections."""
    parsed = urlsplit(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET scram_iterations = 1")
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(parsed.username), sql.Literal(unquote(parsed.password))))


@pytest.fixture(scope="session")
def valkey(tmp_path_factory):
    """An embedded Valkey."""
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def templates(postgres):
    """Migrated databases, to be cloned: ``(main, auth)``."""
    migrate.upgrade("main", postgres.url("agora_main"))
    migrate.upgrade("auth", postgres.url("agora_auth"))
    return "agora_main", "agora_auth"


def clone(postgres, template, name):
    """A copy of a template database; returns its URL."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    return postgres.url(name)


@pytest.fixture(scope="session")
def environment(postgres, valkey, templates, tmp_path_factory):
    """The settings of this test process, in its environment: databases of its own, cloned from the templates."""
    values = {
        "DATABASE_URL": clone(postgres, templates[0], f"main_{os.getpid()}"),
        "AUTH_DATABASE_URL": clone(postgres, templates[1], f"auth_{os.getpid()}"),
        "REDIS_URL": valkey.url,
        "AGORA_SECRET_KEY": SECRET,
        "AGORA_MAIL_URL": "console:",
        "AGORA_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "AGORA_EGRESS_ALLOW": "127.0.0.0/8,::1/128",
        "AGORA_EGRESS_PORTS": "any",
        "AGORA_EGRESS_ALLOW_HTTP": "1",
        "AGORA_LOG_LEVEL": "warning",
    }
    patch = pytest.MonkeyPatch()
    for name, value in values.items():
        patch.setenv(name, value)
    get_settings.cache_clear()
    celery.conf.broker_url = valkey.url  # Celery reads its settings once, and a unit test may have made it do so before
    yield values
    stream.close()
    engines.dispose_all()
    patch.undo()
    get_settings.cache_clear()


def empty(url):
    """Delete every row of a database. Emptying an empty table takes as long as emptying a full one, so it is not."""
    with psycopg.connect(url, autocommit=True) as connection:
        full = [name for (name,) in connection.execute(looks(url))]
        # A few rows go quicker one by one than a table is truncated, where no trigger and no foreign key is asked.
        counts = [sql.SQL("(SELECT count(*) FROM (SELECT FROM {} LIMIT {}))").format(*one) for one in parts(full)]
        found = connection.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(counts))).fetchone()
        few = [name for name, count in zip(full, found, strict=True) if count <= FEW]
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            for name in few:
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))
        if len(few) < len(full):
            many = sql.SQL(", ").join(sql.Identifier(name) for name in full if name not in few)
            connection.execute("SET agora.audit_before = 'infinity'")  # else the audit log cannot be emptied
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(many))


def parts(names):
    """What counts a table's rows as far as it matters."""
    return [(sql.Identifier(name), sql.Literal(FEW + 1)) for name in names]


@cache
def looks(url):
    """The statement that names the tables with rows; tables are the same for as long as this process tests."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
            " AND NOT relispartition"
        ).fetchall()
    named = [
        sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(sql.Literal(name), sql.Identifier(name))
        for (name,) in rows
        if name not in UNTOUCHED
    ]
    return sql.SQL(" UNION ALL ").join(named)


def forget_failures():
    """What was counted of failed sign-ins and of requests, here and in Valkey."""
    link.forget()
    gate.forget_here()
    throttle._made.cache_clear()
    redis = link.client_of(get_settings().redis_url)
    for pattern in ("LIMITS:*", "agora:rate:*", "agora:jobs-of-day:*"):
        found = list(redis.scan_iter(pattern, count=1_000))
        if found:
            redis.delete(*found)


@pytest.fixture
def db(environment):
    """Empty databases for one test; returns the environment that leads to them."""
    empty(environment["DATABASE_URL"])
    empty(environment["AUTH_DATABASE_URL"])
    catalogue.forget()
    forget_all()
    access_tokens._kept.clear()
    uses._sums.clear()
    forget_failures()
    yield environment
    engines.dispose_all()


@pytest.fixture(scope="session")
def application():
    """One application for all tests: it takes half a second to make, and keeps nothing of a request."""
    return create_app()


@pytest.fixture
def app(db, application):
    """The WSGI application, on empty databases."""
    return application


@pytest.fixture
def caller(app):
    """A caller with a key of a team of its own."""
    return Caller(app)


@pytest.fixture
def setting(monkeypatch):
    """Sets settings by their environment variables, for this test."""

    def set_(name, value):
        monkeypatch.setenv(name, str(value))
        get_settings.cache_clear()

    yield set_
    monkeypatch.undo()
    get_settings.cache_clear()
