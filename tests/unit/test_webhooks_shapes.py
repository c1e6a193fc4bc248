"""What an endpoint may look like, and what of headers is shown."""

import pytest

from agora.egress import policy
from agora.errors import Invalid
from agora.settings import get_settings, load_settings
from agora.webhooks import shapes
from agora.webhooks.redaction import MAX_HEADERS, MAX_VALUE, redact


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    settings = load_settings({})
    monkeypatch.setattr(policy, "get_settings", lambda: settings)
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("url", "http://receiver.test/", "/url"),
        ("url", "https://127.0.0.1/", "/url"),
        ("url", "https://receiver.test/#part", "/url"),
        ("url", "https://receiver.test/\nHost: x", "/url"),
        ("url", "https://receiver.test/" + "a" * 2048, "/url"),
        ("url", None, "/url"),
        ("event_types", [], "/event_types"),
        ("event_types", "job.*", "/event_types"),
        ("event_types", ["job.finished"], "/event_types"),
        ("event_types", ["jobs.*"], "/event_types"),
        ("event_types", ["*.failed"], "/event_types"),
        ("event_types", [7], "/event_types"),
        ("headers", {"Webhook-Id": "x"}, "/headers/Webhook-Id"),
        ("headers", {"Connection": "close"}, "/headers/Connection"),
        ("headers", {"Host": "elsewhere"}, "/headers/Host"),
        ("headers", {"Content-Length": "0"}, "/headers/Content-Length"),
        ("headers", {"x-a": "one\r\nx-b: two"}, "/headers/x-a"),
        ("headers", {"bad name": "x"}, "/headers/bad name"),
        ("headers", {"x-a": "1", "X-A": "2"}, "/headers"),
        ("headers", {f"x-{n}": "1" for n in range(21)}, "/headers"),
        ("schedule", [], "/schedule"),
        ("schedule", [-1], "/schedule"),
        ("schedule", [True], "/schedule"),
        ("schedule", "often", "/schedule"),
        ("uid", "whe_mine", "/uid"),
        ("uid", "a b", "/uid"),
        ("uid", "", "/uid"),
        ("agents", ["a/b"], "/agents"),
        ("max_in_flight", 0, "/max_in_flight"),
        ("max_in_flight", 1001, "/max_in_flight"),
        ("max_in_flight", True, "/max_in_flight"),
        ("description", "x" * 1001, "/description"),
        ("metadata", {"x": "y" * 20_000}, "/metadata"),
        ("metadata", [1], "/metadata"),
        ("colour", "red", "/colour"),
        ("secret", "whsec_x", "/secret"),
    ],
)
def test_a_wrong_field_is_named(field, value, pointer):
    with pytest.raises(Invalid) as caught:
        shapes.check_fields({field: value})
    assert [error.pointer for error in caught.value.errors] == [pointer]
    assert field in str(caught.value) or pointer[1:] in str(caught.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(Invalid) as caught:
        shapes.check_fields({"url": "", "uid": "a b", "schedule": [], "description": "fine"})
    assert [error.pointer for error in caught.value.errors] == ["/url", "/uid", "/schedule"]


def test_good_fields_pass():
    good = {
        "url": "https://receiver.test/hook?x=1",
        "event_types": ("job.succeeded", "step.*", "agent.*", "agent.probe.done", "*"),
        "headers": {"Authorization": "Bearer x"},
        "schedule": (0, 5),
        "uid": "billing-1",
        "agents": ("context_analyzer",),
        "max_in_flight": 1,
        "description": "",
        "metadata": {"a": [1]},
    }
    checked = shapes.check_fields(good)
    assert checked["event_types"] == ["job.succeeded", "step.*", "agent.*", "agent.probe.done", "*"]
    assert checked["schedule"] == [0.0, 5.0]


def test_an_error_about_a_header_never_repeats_its_value():
    with pytest.raises(Invalid) as caught:
        shapes.check_fields({"headers": {"Authorization": "topsecret\n"}})
    assert "topsecret" not in str(caught.value) + str(caught.value.errors)


def test_redaction_keeps_names_and_hides_what_sounds_secret():
    headers = {"Authorization": "a", "X-Api-Key": "b", "Set-Cookie": "c", "X-Plain": "d", "X-Own": "e"}
    shown = redact(headers, own=["x-own"])
    assert shown == {
        "authorization": "[redacted]", "x-api-key": "[redacted]", "set-cookie": "[redacted]", "x-plain": "d",
        "x-own": "[redacted]",
    }  # fmt: skip


def test_a_bomb_of_headers_is_cut():
    shown = redact([(f"x-{n}", "v" * 10_000) for n in range(500)] + [("x-0", "again")])
    assert len(shown) == MAX_HEADERS
    assert all(len(value) <= MAX_VALUE for value in shown.values())
    assert redact([("x", "nul\x00 and \udc80")]) == {"x": "nul\ufffd and ?"}
