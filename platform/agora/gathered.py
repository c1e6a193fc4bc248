"""What a fan-out came to: its items' results in input order, read in pages while they are iterated."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Item:
    """How one item ended: its JSON result, or its error (code, type, message). ``index`` is its place, from 0."""

    index: int
    value: Any = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ItemFailed:
    """An item that failed, where the failures policy tolerates it."""

    index: int
    code: str
    message: str


class Pages(Protocol):
    """What reads the items of a map step."""

    def items(self, name: str, *, iteration: int, start: int) -> Sequence[Item]:
        """A page of ended items from index ``start`` on, in order; empty behind the last one."""


class Gathered(Generic[R]):
    """The results of a map step. Iterating gives those of the items that succeeded, in input order.

    ``count`` is how many items there were, ``failed`` how many of them failed. Nothing is kept: each iteration reads
    the items again, a page at a time, so that ten thousand results need not fit in memory.
    """

    def __init__(
        self, summary: Mapping[str, int], page: Callable[[int], Sequence[Item]], load: Callable[[Any], R]
    ) -> None:
        self.count, self.failed = summary["count"], summary["failed"]
        self._page, self._load = page, load

    def __len__(self) -> int:
        """How many results iterating gives."""
        return self.count - self.failed

    def __iter__(self) -> Iterator[R]:
        for outcome in self.outcomes():
            if not isinstance(outcome, ItemFailed):
                yield outcome

    def failures(self) -> Iterator[ItemFailed]:
        """The items that failed, in input order."""
        for outcome in self.outcomes():
            if isinstance(outcome, ItemFailed):
                yield outcome

    def outcomes(self) -> Iterator[R | ItemFailed]:
        """One outcome for each item, in input order."""
        start = 0
        while start < self.count:
            page = self._page(start)
            if not page:
                raise LookupError(f"the items from {start} on are gone")
            for item in page:
                yield self._outcome(item)
            start = page[-1].index + 1

    def _outcome(self, item: Item) -> R | ItemFailed:
        if item.error is None:
            return self._load(item.value)
        return ItemFailed(index=item.index, code=item.error["code"], message=item.error["message"])
