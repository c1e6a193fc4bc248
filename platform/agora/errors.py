"""The errors of Agora's domain. No HTTP numbers here: ``api/errors`` maps slugs to them.

The docstring of a class is its title. ``str(error)`` is the detail of one occurrence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

NOT_TOLD: Final = object()
"""In place of a value that must not be repeated, or of which there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldError:
    """What is wrong with one field: JSON pointer into the request, the rule, the value, and a sentence."""

    pointer: str
    rule: str
    message: str
    value: Any = NOT_TOLD


class AgoraError(Exception):
    """Something went wrong in Agora."""

    slug: ClassVar[str] = "error"

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title())
        self.extra = extra

    @classmethod
    def title(cls) -> str:
        """The first line of the docstring, without its full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")


class SettingsError(AgoraError):
    """A setting is wrong."""

    slug = "settings"


class NotFound(AgoraError):
    """There is no such thing."""

    slug = "not-found"


class Invalid(AgoraError):
    """The request is not valid."""

    slug = "invalid"

    def __init__(self, detail: str = "", *, errors: Sequence[FieldError] = (), **extra: Any) -> None:
        super().__init__(detail or (errors[0].message if errors else ""), **extra)
        self.errors = tuple(errors)


class Conflict(AgoraError):
    """The request conflicts with the present state."""

    slug = "conflict"


class IllegalTransition(Conflict):
    """The object is in a state that does not allow this."""

    slug = "illegal-transition"


class PreconditionFailed(AgoraError):
    """The object is not what the request expects it to be."""

    slug = "precondition-failed"


class IdempotencyKeyReused(Invalid):
    """The idempotency key was used with another request."""

    slug = "idempotency-key-reused"


class Unauthenticated(AgoraError):
    """Valid credentials are required."""

    slug = "unauthenticated"


class Forbidden(AgoraError):
    """These credentials do not allow this."""

    slug = "forbidden"


class VersionRetired(AgoraError):
    """This version of the API is retired."""

    slug = "version-retired"


class SecondFactorRequired(Forbidden):
    """This needs a session that was begun with a second factor."""

    slug = "second-factor-required"


class TooLarge(AgoraError):
    """The value is too large."""

    slug = "too-large"


class TooMany(AgoraError):
    """Too many at once."""

    slug = "too-many-requests"


class Unavailable(AgoraError):
    """A service that is needed is not available."""

    slug = "unavailable"


def invalid_field(pointer: str, rule: str, message: str, value: Any = NOT_TOLD) -> Invalid:
    """One field is wrong: shorthand for the common case."""
    return Invalid(message, errors=[FieldError(pointer=pointer, rule=rule, message=message, value=value)])
