"""Calls to addresses that users give go through the egress guard: whoever else can call out is listed, with reasons."""

import ast

import pytest

from tests.architecture.test_layout import ROOT, TREES, name_of

CLIENTS = {
    "aiohttp", "aiosmtplib", "ftplib", "grpc", "http.client", "httpx", "imaplib", "nntplib", "paramiko", "poplib",
    "pycurl", "requests", "smtplib", "telnetlib", "tornado.httpclient", "urllib.request", "urllib3",
    "websocket", "websockets", "xmlrpc.client", "authlib.integrations",
}  # fmt: skip
"""Modules that dial whatever address they are handed. Clients of services (psycopg, redis, Celery, fsspec) are not
among them: their addresses come from the settings."""

DIALS = {
    "socket.create_connection", "asyncio.open_connection", "loop.create_connection", "anyio.connect_tcp",
    "socket.getaddrinfo", "socket.gethostbyname",
}  # fmt: skip
"""Calls that dial, or look a name up."""

MAY_CALL_OUT = {
    "agora/egress/session.py": "the guard itself",
    "agora/egress/resolver.py": "the guard itself: the system's resolver, and aiohttp's interface of one",
    "agora/webhooks/pump.py": "holds the guarded session, and makes none",
    "agora/webhooks/sender.py": "is handed the guarded session",
    "agora/webhooks/wire.py": "bounds what comes over connections that the guarded session makes",
    "agora/runtime/up.py": "asks the platform that it has just started on loopback whether it is ready",
    "agora/cli/forward.py": "`agora listen --forward`: on the caller's machine, to loopback addresses only",
    "agora/identity/oidc_provider.py": "the OpenID provider that the operator names in the settings, without redirects",
    "agora/identity/mail.py": "the operator's own mail server, from the settings",
    "agora/client/wire.py": "the caller's own client, on the caller's machine, at the address that the caller chose",
    "agora/client/jobs.py": "likewise: the exceptions of http.client while it streams",
}
"""Modules that import a client or dial, each with its reason."""

MAY_OPEN_SESSIONS = {"agora/egress/session.py"}
"""Where a session of aiohttp is made. Others are handed one."""

COMPILES_SCHEMAS = {
    "validator_for",
    "validator_map_for",
    "validate",
    "is_valid",
    "iter_errors",
    "evaluate",
    "bundle",
    "dereference",
}


def imported(tree):
    """Every module that is imported, by its full name, and each name that is imported from one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted(node):
    """``a.b`` of an expression, without what stands before."""
    if isinstance(node, ast.Attribute):
        before = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        return f"{before}.{node.attr}"
    return getattr(node, "id", "")


def ways_out(tree):
    """By what a module could call out."""
    modules = {name for name in imported(tree) for client in CLIENTS if name == client or name.startswith(f"{client}.")}
    called = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | set(imported(tree))
    return modules | (called & DIALS)


@pytest.mark.parametrize("path", TREES, ids=name_of)
def test_only_listed_modules_can_call_out(path):
    if name_of(path) not in MAY_CALL_OUT:
        assert ways_out(TREES[path]) == set(), "go through agora.egress, or be listed in MAY_CALL_OUT with a reason"


@pytest.mark.parametrize("path", TREES, ids=name_of)
def test_only_the_guard_opens_http_sessions(path):
    names = {"ClientSession", "TCPConnector", "request"}
    opened = {
        dotted(node.func).rpartition(".")[2]
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Call) and dotted(node.func) in names | {f"aiohttp.{name}" for name in names}
    }
    assert name_of(path) in MAY_OPEN_SESSIONS or opened == set()


@pytest.mark.parametrize("path", TREES, ids=name_of)
def test_json_schemas_fetch_nothing(path):
    """A ``$ref`` would be fetched from wherever it points to."""
    assert not any(name.startswith("jsonschema_rs.") for name in imported(TREES[path])), "name the module in each call"
    for node in ast.walk(TREES[path]):
        name = dotted(node.func) if isinstance(node, ast.Call) else ""
        module, _, function = name.rpartition(".")
        if module == "jsonschema_rs" and (function in COMPILES_SCHEMAS or function.endswith("Validator")):
            offline = [keyword.value for keyword in node.keywords if keyword.arg == "offline"]
            assert [getattr(value, "value", None) for value in offline] == [True], f"line {node.lineno}: offline=True"


def test_excuses_are_needed():
    """An excuse for what is gone must go as well."""
    trees = {name_of(path): tree for path, tree in TREES.items()}
    for name in MAY_CALL_OUT:
        assert (ROOT / "platform" / name).exists(), name
        assert ways_out(trees[name]), name


@pytest.mark.parametrize(
    "written",
    [
        "import aiohttp", "import urllib.request", "from urllib import request", "from urllib.request import urlopen",
        "import http.client as wire", "from http import client", "import requests.adapters", "from httpx import Client",
        "import socket\nsocket.create_connection(('a', 1))", "from socket import create_connection",
        "import asyncio\nasyncio.open_connection('a', 1)", "dial = socket.create_connection",
        "self.loop.create_connection(None, 'a', 1)",
    ],
)  # fmt: skip
def test_ways_out_are_found(written):
    assert ways_out(ast.parse(written)) != set()


@pytest.mark.parametrize(
    "written",
    [
        "import socket\nsocket.gethostname()", "from urllib.parse import urlsplit", "import http",
        "from http import HTTPStatus", "import http.server", "import requests_of_ours", "connect()",
    ],
)  # fmt: skip
def test_what_calls_nobody_is_not(written):
    assert ways_out(ast.parse(written)) == set()
