"""Words with their offsets, and an index that finds many patterns in them at once."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_TOKEN = re.compile(
    r"\d+(?:[.,]\d+)*"  # a number, thousands separators and decimals included
    r"|\.net\b|[^\W\d_]\w*(?:['’]\w+)*[+#]*"
    r"|[%€$£°<>≤≥~]=?|[?]",
    re.IGNORECASE,
)
PREFIX = 3
"""Patterns that end in * are looked up by their first letters, so they need at least this many."""


class Token(NamedTuple):
    """A word in lower case, and its character offsets."""

    word: str
    start: int
    end: int


class Match(NamedTuple, Generic[T]):
    """A pattern that was found: what it stands for, and the tokens that it covers (``end`` is exclusive)."""

    payload: T
    start: int
    end: int


def tokenise(text: str) -> list[Token]:
    """The words, numbers and signs of a text."""
    return [Token(m.group().lower().replace("’", "'"), m.start(), m.end()) for m in _TOKEN.finditer(text)]


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    prefix: bool

    def fits(self, word: str) -> bool:
        return word.startswith(self.text) if self.prefix else word == self.text


class TermIndex(Generic[T]):
    """Finds patterns (see Lexicon) in a list of tokens; time grows with the tokens, hardly with the patterns."""

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        """Raises ValueError for a pattern without words or with a prefix that is too short."""
        self._exact: dict[str, list[tuple[tuple[_Word, ...], T]]] = {}
        self._prefix: dict[str, list[tuple[tuple[_Word, ...], T]]] = {}
        for pattern, payload in entries:
            words = _parse(pattern)
            first = words[0]
            table, key = (self._prefix, first.text[:PREFIX]) if first.prefix else (self._exact, first.text)
            table.setdefault(key, []).append((words, payload))

    def find(self, tokens: Sequence[Token]) -> list[Match[T]]:
        """Every match that is not part of a longer one, in reading order."""
        found: list[Match[T]] = []
        for position, token in enumerate(tokens):
            for table, key in ((self._exact, token.word), (self._prefix, token.word[:PREFIX])):
                for words, payload in table.get(key, ()):
                    end = position + len(words)
                    if end <= len(tokens) and all(
                        word.fits(tokens[position + offset].word) for offset, word in enumerate(words)
                    ):
                        found.append(Match(payload, position, end))
        return _longest(found)

    def any(self, tokens: Sequence[Token]) -> bool:
        """Whether at least one pattern is there."""
        return bool(self.find(tokens))


def phrases(patterns: Iterable[str]) -> TermIndex[str]:
    """An index whose payload is the pattern itself."""
    return TermIndex((pattern, pattern) for pattern in patterns)


def _parse(pattern: str) -> tuple[_Word, ...]:
    words: list[_Word] = []
    for piece in pattern.split():
        parts = [token.word for token in tokenise(piece.removesuffix("*"))]
        words.extend(_Word(part, prefix=False) for part in parts[:-1])
        if parts:
            prefix = piece.endswith("*")
            if prefix and len(parts[-1]) < PREFIX:
                raise ValueError(f"the pattern {pattern!r} needs at least {PREFIX} letters before its *")
            words.append(_Word(parts[-1], prefix=prefix))
    if not words:
        raise ValueError(f"the pattern {pattern!r} has no words")
    return tuple(words)


def _longest(found: list[Match[T]]) -> list[Match[T]]:
    """Without the matches that lie inside a longer one: one sweep from left to right, the longest first."""
    kept: list[Match[T]] = []
    reach, reach_start = -1, -1
    for match in sorted(found, key=lambda each: (each.start, -each.end)):
        if match.end < reach or (match.end == reach and reach_start < match.start):
            continue
        if match.end > reach:
            reach, reach_start = match.end, match.start
        kept.append(match)
    return kept
