"""Holds payloads against the catalogue, as a receiver that trusts the published schemas would."""

from functools import cache

import jsonschema_rs

from agora.events.catalogue import find_type


@cache
def _validator(name):
    return jsonschema_rs.Draft202012Validator(find_type(name).schema, validate_formats=True)


def check_payload(payload):
    """Fail unless a payload keeps to the schema of its type."""
    faults = [
        f"/{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in _validator(find_type(payload["type"]).name).iter_errors(payload)
    ]
    assert not faults, (payload, faults)


def check_data(kind, data):
    """The same, of the data of an event that was recorded."""
    check_payload({"type": kind, "timestamp": "2026-01-01T00:00:00Z", "data": data})
