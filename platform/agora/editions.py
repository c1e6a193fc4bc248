"""Editions: which state of an object somebody has read, so that their edit undoes nobody else's.

An edition is a digest of what was set in an object, and not of what merely happens to it: the last success of a webhook
endpoint is no reason to refuse an edit. It is made from the row, so that every process makes the same, and stays as
long as the object does. ``Expected`` is held against it in the transaction that writes, once the row is locked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, ClassVar, Final, Protocol

from agora.errors import PreconditionFailed

BYTES = 10


def digest(content: bytes) -> str:
    """A short name of some bytes; others do not have it, as far as chance goes."""
    return blake2b(content, digest_size=BYTES).hexdigest()


class HasEdition(Protocol):
    """What an edit may be made conditional on."""

    @property
    def edition(self) -> str:
        """Names what was set in it."""


class Edited:
    """For frozen dataclasses that callers edit: their edition is that of all fields but those in ``HAPPENS``."""

    __slots__ = ()
    HAPPENS: ClassVar[frozenset[str]] = frozenset()
    """Fields that change without anybody's editing."""

    @property
    def edition(self) -> str:
        """Names what was set in it."""
        own = fields(self)  # type: ignore[arg-type]  # of a subclass, which is a dataclass
        told = [[one.name, getattr(self, one.name)] for one in own if one.name not in self.HAPPENS]
        return digest(json.dumps(told, default=_plain, sort_keys=True).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return str(value.astimezone(UTC))  # the session's zone is no part of the moment
    return dict(value) if isinstance(value, Mapping) else str(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What somebody expects of the object that they are about to change; by default nothing.

    ``editions``: it has one of these; where there are none, nothing is as expected. ``exists``: there is one.
    ``absent``: there is none yet.
    """

    editions: frozenset[str] | None = None
    exists: bool = False
    absent: bool = False

    def check(self, found: HasEdition | None) -> None:
        """Hold it against the object, whose row is locked. Raises PreconditionFailed."""
        if found is None and (self.exists or self.editions is not None):
            raise PreconditionFailed("there is no such object any more, or not yet")
        if found is not None and self.absent:
            raise PreconditionFailed("there is one already")
        if self.editions is not None and not self.editions:
            raise PreconditionFailed("a weak tag (W/) never matches If-Match: send the tag as the server gave it")
        if found is not None and self.editions is not None and found.edition not in self.editions:
            raise PreconditionFailed("it was changed since you read it: read it again, and decide anew")


ANYTHING: Final = Expected()
