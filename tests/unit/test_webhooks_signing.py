"""Signatures, judged by the public Standard Webhooks package."""

import base64
import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from agora.errors import Invalid
from agora.webhooks import signing
from agora.webhooks.signing import VerificationFailed

BODY = json.dumps({"type": "job.succeeded", "data": {"name": "Zoë ☃"}}, ensure_ascii=False).encode()


def headers(body=BODY, *, keys, webhook_id="evt_1", timestamp=None):
    timestamp = int(time.time()) if timestamp is None else timestamp
    return {
        "Webhook-Id": webhook_id,
        "Webhook-Timestamp": str(timestamp),
        "Webhook-Signature": signing.sign(webhook_id, timestamp, body, keys),
    }


def test_the_public_package_accepts_what_we_sign():
    secret = signing.generate_secret()
    signed = headers(keys=[signing.parse_secret(secret)])
    assert Webhook(secret).verify(BODY, signed)["type"] == "job.succeeded"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" ", signed)


def test_we_accept_what_the_public_package_signs():
    secret = signing.generate_secret()
    moment = datetime.now(UTC)
    made = Webhook(secret).sign("evt_2", moment, BODY.decode())
    signed = {"webhook-id": "evt_2", "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": made}
    signing.verify(signed, BODY, secret)


def test_several_keys_give_several_signatures_and_each_key_verifies():
    old, new = signing.generate_secret(), signing.generate_secret()
    signed = headers(keys=[signing.parse_secret(new), signing.parse_secret(old)])
    assert len(signed["Webhook-Signature"].split(" ")) == 2
    for secret in (old, new):
        signing.verify(signed, BODY, secret)
        Webhook(secret).verify(BODY, signed)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_of_every_allowed_length_survive_the_round_trip(size):
    key = bytes(range(size))
    assert signing.parse_secret(signing.format_secret(key)) == key


@pytest.mark.parametrize(
    ("secret", "rule"),
    [
        ("", "prefix"),
        ("whsk_" + base64.b64encode(bytes(32)).decode(), "prefix"),
        ("whsec_not base64!", "base64"),
        ("whsec_" + "ü" * 40, "base64"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "length"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "length"),
    ],
)
def test_wrong_secrets_are_refused_without_repeating_them(secret, rule):
    with pytest.raises(Invalid) as caught:
        signing.parse_secret(secret)
    fault = caught.value.errors[0]
    assert (fault.pointer, fault.rule, fault.value) == ("/secret", rule, None)
    assert len(secret) < 10 or secret not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"Webhook-Id": "evt_other"},
        {"Webhook-Id": ""},
        {"Webhook-Timestamp": "soon"},
        {"Webhook-Timestamp": "-5"},
        {"Webhook-Timestamp": "9" * 400},
        {"Webhook-Signature": "v1,AAAA"},
        {"Webhook-Signature": "v1"},
        {"Webhook-Signature": "ünïcode"},
    ],
)
def test_a_changed_header_is_not_authentic(change):
    secret = signing.generate_secret()
    signed = headers(keys=[signing.parse_secret(secret)]) | change
    with pytest.raises(VerificationFailed):
        signing.verify(signed, BODY, secret)


@pytest.mark.parametrize("age", [-301, 301])
def test_old_and_future_webhooks_are_refused_unless_tolerated(age):
    secret = signing.generate_secret()
    signed = headers(keys=[signing.parse_secret(secret)], timestamp=int(time.time()) - age)
    with pytest.raises(VerificationFailed, match="to trust"):
        signing.verify(signed, BODY, secret)
    signing.verify(signed, BODY, secret, tolerance=600)


def test_another_secret_does_not_verify():
    signed = headers(keys=[signing.parse_secret(signing.generate_secret())])
    with pytest.raises(VerificationFailed, match="no v1 signature"):
        signing.verify(signed, BODY, signing.generate_secret())
