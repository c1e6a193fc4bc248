"""The address that a request counts for: only what a trusted proxy wrote is believed."""

import pytest
from flask import Flask

from agora.settings import get_settings
from api.address import client_address


@pytest.mark.parametrize(
    ("trusted", "remote", "forwarded", "counted"),
    [
        ("", "127.0.0.1", None, "127.0.0.1"),
        ("", "127.0.0.1", "203.0.113.9", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8", "127.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),  # the client forged the first
        ("127.0.0.0/8,10.0.0.0/8", "127.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("127.0.0.0/8,10.0.0.0/8", "127.0.0.1", "10.0.0.9,10.0.0.7", "10.0.0.9"),
        ("127.0.0.0/8", "203.0.113.1", "203.0.113.9", "203.0.113.1"),  # no proxy of ours
        ("127.0.0.0/8", "127.0.0.1", "somebody", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1", "203.0.113.9, unknown", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1", "", "127.0.0.1"),
        ("::1/128", "::1", "2001:db8::7", "2001:db8::7"),
        ("127.0.0.0/8", "::ffff:127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("127.0.0.0/8", "127.0.0.1", ",".join(["127.0.0.2"] * 1000), "127.0.0.2"),
        ("127.0.0.0/8", None, None, ""),
    ],
)
def test_only_what_a_trusted_proxy_wrote_counts(monkeypatch, trusted, remote, forwarded, counted):
    monkeypatch.setenv("AGORA_TRUSTED_PROXIES", trusted)
    get_settings.cache_clear()
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    try:
        with Flask("x").test_request_context(headers=headers, environ_base={"REMOTE_ADDR": remote}):
            assert client_address() == counted
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
