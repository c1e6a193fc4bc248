"""Pages of lists, in an order that an index has, and cursors: where the next page begins.

A list goes on behind the last item that was shown, by the key that it is ordered by, so whatever is inserted or removed
meanwhile, no item comes twice and none that stays is left out. Services take and give that position as it is. Over HTTP
it travels as a cursor: signed, and bound to the list that it is of, so that nobody makes one up and none of one list,
filter, order or team goes on in another.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Select
from sqlalchemy.orm import InstrumentedAttribute

from agora.crypto import is_mac, mac
from agora.errors import Invalid, invalid_field
from agora.ids import is_id

T = TypeVar("T")
Q = TypeVar("Q", bound="Select[*tuple[Any, ...]]")
Key = ColumnElement[Any] | InstrumentedAttribute[Any]
VERSION: Final = b"\x01"
MAC, BOUND = 32, 12
"""Bytes of a cursor: version, MAC, digest of the list that it is bound to, and the position."""
PURPOSE = "cursor"
NEWEST_FIRST, OLDEST_FIRST = "-created_at", "created_at"
BY_CREATION = (NEWEST_FIRST, OLDEST_FIRST)
"""The orders of most lists: by id, which sorts by the time at which it was made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T]):
    """One page of a list and where the next begins; None at the end."""

    items: Sequence[T]
    next_cursor: str | None


class Span(NamedTuple):
    """Which part of a list: up to ``limit`` rows behind the position ``after``, in the order ``sort``."""

    limit: int
    after: str | None = None
    sort: str = NEWEST_FIRST

    @classmethod
    def of_ids(cls, prefix: str, *, limit: int, cursor: str | None, sort: str = NEWEST_FIRST) -> "Span":
        """One page of what has such ids, and one row more, which tells whether another page follows. Raises Invalid."""
        if cursor is not None and not is_id(cursor, prefix):
            raise invalid_field("/cursor", "cursor", "cursor must come from next_cursor of the same list", cursor)
        return cls(limit=limit + 1, after=cursor, sort=sort)

    @property
    def descending(self) -> bool:
        """Whether the list begins with the greatest key."""
        return self.sort.startswith("-")

    def of(self, statement: Q, key: Key) -> Q:
        """A statement in this order, by a key that no two rows share, behind the position."""
        if self.after is not None:
            statement = statement.where(key < self.after if self.descending else key > self.after)
        return statement.order_by(key.desc() if self.descending else key).limit(self.limit)


def cut(items: Sequence[T], span: Span, key: Callable[[T], str] = attrgetter("id")) -> Page[T]:
    """What a span found, as a page without the row that was one more."""
    shown = items[: span.limit - 1]
    return Page(items=shown, next_cursor=key(shown[-1]) if len(items) > len(shown) else None)


def seal(position: str, of: Sequence[Any]) -> str:
    """A position as a cursor of the list that ``of`` tells from all others. Raises SettingsError without a key."""
    signed = _digest(of) + position.encode()
    return base64.urlsafe_b64encode(VERSION + bytes.fromhex(mac(PURPOSE, signed)) + signed).decode().rstrip("=")


def unseal(cursor: str, of: Sequence[Any]) -> str:
    """The position that a cursor stands for. Keys of before count as well (AGORA_SECRET_KEY_OLD). Raises Invalid."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused("this is no cursor of this server", cursor) from None
    signed = raw[1 + MAC :]
    genuine = raw[:1] == VERSION and len(signed) >= BOUND and is_mac(PURPOSE, signed, raw[1 : 1 + MAC].hex())
    # Of the last character some bits say nothing: a cursor has one spelling.
    if not genuine or base64.urlsafe_b64encode(raw).decode().rstrip("=") != cursor:
        raise _refused("this is no cursor of this server; those that were no more than ids are taken no longer", cursor)
    if signed[:BOUND] != _digest(of):
        raise _refused("this cursor is of another list: path, filters, sort or team are others", cursor)
    return signed[BOUND:].decode()


def _digest(of: Sequence[Any]) -> bytes:
    return sha256(json.dumps(list(of), sort_keys=True, default=str).encode()).digest()[:BOUND]


def _refused(why: str, cursor: str) -> Invalid:
    return invalid_field("/cursor", "cursor", f"cursor: {why}; begin again without a cursor", cursor)
