"""Faults by name. A fault is a context manager: before its yield it injects, after it it undoes."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

INSTANT = "instant"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to hurt the platform.

    ``act(stage, target, rng)`` is the context manager; it yields a note for the log. ``targets`` are what it may hurt:
    each of them is hurt by one fault at a time. ``lasts`` is the field of the scale that says how long, or "instant".
    ``excuses`` is whether the API may be away meanwhile. ``kills`` is whether it ends a worker that holds steps.
    """

    name: str
    act: Callable
    targets: tuple[str, ...]
    lasts: str
    excuses: bool
    kills: bool

    def seconds(self, scale):
        """How long it lasts."""
        return 0.0 if self.lasts == INSTANT else getattr(scale, self.lasts)


FAULTS: dict[str, Fault] = {}


class CannotRun(Exception):
    """This machine does not allow the fault; the message is the reason, for the report."""


def fault(*targets, lasts=INSTANT, excuses=False, kills=False):
    """Register a generator function ``(stage, target, rng)`` as a fault, under its name with dashes."""

    def register(function):
        name = function.__name__.replace("_", "-")
        FAULTS[name] = Fault(
            name=name, act=contextmanager(function), targets=targets, lasts=lasts, excuses=excuses, kills=kills
        )
        return function

    return register
