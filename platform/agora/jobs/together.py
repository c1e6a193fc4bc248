"""Callers that come while others are dealt with are dealt with together: group commit.

A lone caller waits for nobody. The more come at once, the more share one statement and one commit, so that the cost of
each falls with the load.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Interrupted(RuntimeError):
    """Whoever dealt with it was stopped in the middle: it may have been done or not."""


@dataclass(slots=True, eq=False)
class _Place(Generic[Item, Result]):
    """A caller in the line."""

    item: Item
    turn: threading.Event = field(default_factory=threading.Event)
    """Set when it has been dealt with, or when it is to deal with the line."""
    found: "Result | Exception | None" = None
    dealt_with: bool = False


class Together(Generic[Item, Result]):
    """A line of callers, of threads or greenlets, in which the first deals with up to ``most`` at a time.

    ``deal`` gets their items in the order in which they came, and gives for each what its caller is to get; an
    exception there is raised to that caller alone. What it raises itself is raised to all of them.
    """

    def __init__(self, deal: "Callable[[Sequence[Item]], Sequence[Result | Exception]]", *, most: int) -> None:
        self._deal, self._most = deal, most
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Begin anew: whoever led in the parent of a fork does not lead here."""
        self._lock = threading.Lock()
        self._line: deque[_Place[Item, Result]] = deque()
        self._led = False

    def do(self, item: Item) -> Result:
        """Have an item dealt with; returns what came of it."""
        place: _Place[Item, Result] = _Place(item)
        with self._lock:
            self._line.append(place)
            if not self._led:
                self._led = True
                place.turn.set()
        try:
            place.turn.wait()
            if not place.dealt_with:
                self._lead()
        except BaseException:
            self._leave(place)
            raise
        if isinstance(place.found, Exception):
            raise place.found
        return place.found  # type: ignore[return-value]  # dealt with, and no exception

    def _leave(self, place: _Place[Item, Result]) -> None:
        """Take a caller who is stopped out of the line. If it was to lead, the next one does."""
        with self._lock:
            if place not in self._line:
                return  # it is being dealt with, or has been
            self._line.remove(place)
            if place.turn.is_set():
                self._pass_on()

    def _pass_on(self) -> None:
        """Let whoever is at the head of the line lead; the lock is held."""
        self._led = bool(self._line)
        if self._line:
            self._line[0].turn.set()

    def _lead(self) -> None:
        """Deal with those at the head of the line, this caller the first, and let the next one lead."""
        with self._lock:
            taken = [self._line.popleft() for _ in range(min(self._most, len(self._line)))]
        found: Sequence[Result | Exception] = [Interrupted("stopped in the middle")] * len(taken)
        try:
            found = self._deal([place.item for place in taken])
            if len(found) != len(taken):
                raise ValueError(f"{len(found)} results for {len(taken)} items")  # noqa: TRY301  # as what it raises
        except Exception as error:  # noqa: BLE001  # each caller gets it
            found = [error] * len(taken)
        finally:
            for place, one in zip(taken, found, strict=True):
                place.found, place.dealt_with = one, True
                place.turn.set()
            with self._lock:
                self._pass_on()
