"""Signatures, judged by the public Standard Webhooks package."""

import base64
import json
import time
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError
from svix.webhooks import Webhook as SvixWebhook

from agora.errors import NOT_TOLD, Invalid
from agora.webhooks import signing
from agora.webhooks.signing import SigningKey, VerificationFailed
from agora.webhooks.states import Algorithm

BODY = json.dumps({"type": "job.succeeded", "data": {"name": "Zoë ☃"}}, ensure_ascii=False).encode()


def headers(body=BODY, *, keys, webhook_id="evt_1", timestamp=None):
    timestamp = int(time.time()) if timestamp is None else timestamp
    return {
        "Webhook-Id": webhook_id,
        "Webhook-Timestamp": str(timestamp),
        "Webhook-Signature": signing.sign(webhook_id, timestamp, body, keys),
    }


@pytest.mark.parametrize("package", [Webhook, SvixWebhook])
def test_the_public_packages_accept_what_we_sign(package):
    secret = signing.generate().text
    signed = headers(keys=[signing.parse_key(secret), signing.generate(Algorithm.V1A)])
    assert package(secret).verify(BODY, signed)["type"] == "job.succeeded"
    with pytest.raises(WebhookVerificationError):
        package(secret).verify(BODY + b" ", signed)


def test_we_accept_what_the_public_package_signs():
    secret = signing.generate().text
    moment = datetime.now(UTC)
    made = Webhook(secret).sign("evt_2", moment, BODY.decode())
    signed = {"webhook-id": "evt_2", "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": made}
    signing.verify(signed, BODY, secret)


def test_several_keys_give_several_signatures_and_each_key_verifies():
    old, new = signing.generate().text, signing.generate().text
    signed = headers(keys=[signing.parse_key(new), signing.parse_key(old)])
    assert len(signed["Webhook-Signature"].split(" ")) == 2
    for secret in (old, new):
        signing.verify(signed, BODY, secret)
        Webhook(secret).verify(BODY, signed)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_secrets_of_every_allowed_length_survive_the_round_trip(size):
    key = bytes(range(size))
    assert signing.parse_key(SigningKey(Algorithm.V1, key).text).raw == key


@pytest.mark.parametrize(
    ("secret", "rule"),
    [
        ("", "prefix"),
        ("whpk_" + base64.b64encode(bytes(32)).decode(), "prefix"),
        ("whsk_" + base64.b64encode(bytes(31)).decode(), "length"),
        ("whsk_" + base64.b64encode(bytes(33)).decode(), "length"),
        ("whsk_" + base64.b64encode(bytes(64)).decode(), "key-pair"),
        ("whsk_===", "base64"),
        ("whsec_not base64!", "base64"),
        ("whsec_" + "ü" * 40, "base64"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "length"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "length"),
    ],
)
def test_wrong_secrets_are_refused_without_repeating_them(secret, rule):
    with pytest.raises(Invalid) as caught:
        signing.parse_key(secret)
    fault = caught.value.errors[0]
    assert (fault.pointer, fault.rule, fault.value) == ("/secret", rule, NOT_TOLD)
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
    secret = signing.generate().text
    signed = headers(keys=[signing.parse_key(secret)]) | change
    with pytest.raises(VerificationFailed):
        signing.verify(signed, BODY, secret)


@pytest.mark.parametrize("age", [-301, 301])
def test_old_and_future_webhooks_are_refused_unless_tolerated(age):
    secret = signing.generate().text
    signed = headers(keys=[signing.parse_key(secret)], timestamp=int(time.time()) - age)
    with pytest.raises(VerificationFailed, match="to trust"):
        signing.verify(signed, BODY, secret)
    signing.verify(signed, BODY, secret, tolerance=600)


def test_another_secret_does_not_verify():
    signed = headers(keys=[signing.parse_key(signing.generate().text)])
    with pytest.raises(VerificationFailed, match="no v1 signature"):
        signing.verify(signed, BODY, signing.generate().text)


def test_v1a_is_ed25519_over_the_same_content():
    key = signing.generate(Algorithm.V1A)
    signed = headers(keys=[key])
    name, _, value = signed["Webhook-Signature"].partition(",")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public.removeprefix("whpk_")))
    content = f"{signed['Webhook-Id']}.{signed['Webhook-Timestamp']}.".encode() + BODY
    assert name == "v1a"
    public.verify(base64.b64decode(value), content)
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(value), content + b" ")


def test_a_public_key_verifies_and_another_does_not():
    key = signing.generate(Algorithm.V1A)
    signed = headers(keys=[key])
    signing.verify(signed, BODY, key.public)
    signing.verify(signed, BODY, key.text)
    with pytest.raises(VerificationFailed, match="no v1a signature"):
        signing.verify(signed, BODY + b" ", key.public)
    with pytest.raises(VerificationFailed, match="no v1a signature"):
        signing.verify(signed, BODY, signing.generate(Algorithm.V1A).public)
    with pytest.raises(VerificationFailed):
        signing.verify(signed | {"Webhook-Signature": "v1a,AAAA v1a,!"}, BODY, key.public)


def test_both_kinds_sign_side_by_side_and_a_receiver_of_one_ignores_the_other():
    secret, pair = signing.generate(), signing.generate(Algorithm.V1A)
    signed = headers(keys=[pair, secret])
    assert [one.partition(",")[0] for one in signed["Webhook-Signature"].split(" ")] == ["v1a", "v1"]
    Webhook(secret.text).verify(BODY, signed)
    signing.verify(signed, BODY, secret.text)
    signing.verify(signed, BODY, pair.public)


def test_the_name_of_the_algorithm_counts():
    """A signature of the one kind under the name of the other is none."""
    secret = signing.generate()
    signed = headers(keys=[secret])
    renamed = signed["Webhook-Signature"].replace("v1,", "v1a,")
    with pytest.raises(VerificationFailed):
        signing.verify(signed | {"Webhook-Signature": renamed}, BODY, secret.text)


def test_a_private_key_comes_as_its_seed_or_with_its_public_half():
    seed = bytes(range(32))
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    for raw in (seed, seed + public):
        key = signing.parse_key("whsk_" + base64.b64encode(raw).decode())
        assert key == SigningKey(Algorithm.V1A, seed)
        assert key.public == "whpk_" + base64.b64encode(public).decode()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_wrong_public_key_is_refused(size):
    key = "whpk_" + base64.b64encode(bytes(size)).decode()
    with pytest.raises(Invalid, match="32 bytes"):
        signing.verify({}, BODY, key)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_key_shows_itself_in_no_repr(algorithm):
    key = signing.generate(algorithm)
    assert key.text.split("_")[1][:10] not in repr(key)
    assert repr(key.raw)[2:12] not in repr(key)
