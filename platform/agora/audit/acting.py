"""Who acts just now, and from where: bound by whoever takes a request or a command, asked when something is recorded.

So no service hands an actor down, and a request that records nothing pays nothing.
"""

import os
import pwd
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PLATFORM: Final = "platform"
"""Instead of a team's id, where something concerns no team: a chain of its own, for operators and administrators."""


class ActorKind(StrEnum):
    """What acts."""

    KEY = "key"
    USER = "user"
    LINK = "link"
    """Whoever holds a link to the webhook portal."""
    OPERATOR = "operator"
    """Somebody with a shell on the platform's machines."""
    SYSTEM = "system"
    ANONYMOUS = "anonymous"
    """Nobody has shown who they are, as with a sign-in that fails."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """Who acts: ``name`` is what people called them then. ``address`` is an IP address, of operators the host's name.

    ``team_id`` is the team they act for, where there is one.
    """

    kind: ActorKind
    id: str | None = None
    name: str = ""
    team_id: str | None = None
    address: str | None = None
    request_id: str | None = None


SYSTEM: Final = Actor(kind=ActorKind.SYSTEM)

_asked: ContextVar[Callable[[], Actor] | None] = ContextVar("agora_actor", default=None)


def bind(ask: Callable[[], Actor] | None) -> None:
    """Let ``ask`` say who acts from now on in this context; None: the platform itself."""
    _asked.set(ask)


def actor() -> Actor:
    """Who acts."""
    ask = _asked.get()
    return SYSTEM if ask is None else ask()


@contextmanager
def acting(who: Actor) -> Iterator[None]:
    """Let somebody act for the length of the block."""
    token = _asked.set(lambda: who)
    try:
        yield
    finally:
        _asked.reset(token)


def operator() -> Actor:
    """Whoever runs this process: their account on this machine, as the kernel knows it."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    return Actor(kind=ActorKind.OPERATOR, id=f"uid:{uid}", name=name, address=socket.gethostname())
