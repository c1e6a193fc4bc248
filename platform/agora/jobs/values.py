"""Stored values: small ones sit in the row, large ones in the file store by reference, too large ones are refused."""

import json
from collections.abc import Mapping
from typing import Any

from agora.files import service as files
from agora.jobs.conclude import encode
from agora.settings import get_settings


def pack(value: Any, *, team_id: str, what: str) -> str:
    """The JSON text of ``{"v": value}``, or of ``{"ref": location, "size": bytes}`` for a value too large for a row.

    Raises:
        TooLarge, Invalid: the value cannot be stored; ``what`` names it in the message.
    """
    return put(encode(value, what), team_id=team_id)


def put(text: str, *, team_id: str) -> str:
    """As :func:`pack`, of a value's JSON text: a large one is in the file store then, so a row should refer to it."""
    size = len(text.encode())
    if size <= get_settings().inline_value_bytes:
        return f'{{"v":{text}}}'
    return json.dumps({"ref": files.put_value(team_id, text.encode()), "size": size})


def packed(value: Any) -> dict[str, Any]:
    """A value as its row would hold it, for whoever has it at hand."""
    return {"v": value}


def unpack(stored: Mapping[str, Any] | str | None) -> Any:
    """The value behind a stored one, a row's or its text; reads the file store for a reference."""
    if isinstance(stored, str):
        return unpack(json.loads(stored))
    if stored is None:
        return None
    if "ref" in stored:
        return json.loads(files.read_value(stored["ref"]))
    return stored["v"]


def peek(stored: Mapping[str, Any] | None) -> Any:
    """The value if it sits in the row, else its reference: for lists and views that must not read files."""
    if stored is None or "v" not in stored:
        return stored
    return stored["v"]
