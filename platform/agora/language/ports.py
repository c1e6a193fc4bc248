"""The one port through which agents use language, and the values that cross it.

All values are frozen and survive JSON through ``pydantic.TypeAdapter``: results of steps are stored that way.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

Layout = Literal["paragraph", "item", "row", "code"]
ConflictKind = Literal["contradiction", "inconsistency", "dependency", "redundancy"]
Subject = Literal["technology", "requirement", "timeline", "resource"]
Severity = Literal["low", "medium", "high", "critical"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A block of a document: a paragraph, a list item or a table row.

    ``start`` and ``end`` are character offsets into the document's plain text, so ``text == document[start:end]``.
    ``heading`` is the path of headings above it, joined by " / ". ``page`` counts from 1 where there are pages.
    """

    index: int
    text: str
    start: int
    end: int
    heading: str = ""
    page: int | None = None
    layout: Layout = "paragraph"


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Where a sentence stands: character offsets into the document's plain text, and the page counted from 1."""

    start: int
    end: int
    page: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A specification that was found but not yet saved.

    ``key`` is dotted snake_case and begins with the category; ``value`` is normalised (comparator, number and unit; a
    technology; else a short phrase); ``content`` is the sentence as it stands in the document; ``confidence`` is
    1.0 explicit, 0.8 to 0.9 strongly implied, 0.6 to 0.7 inferred, 0.4 to 0.5 weak.
    """

    category: str
    key: str
    value: str
    content: str
    confidence: float
    reasoning: str
    span: Span | None = None
    heading: str = ""
    analyst: str = "embedded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contradiction:
    """Two candidates that cannot both hold, or that should not stand side by side without a decision."""

    kind: ConflictKind
    subject: Subject
    severity: Severity
    left: Candidate
    right: Candidate
    explanation: str


class Analyst(Protocol):
    """Finds meaning in text. Implementations are deterministic or say in ``Candidate.analyst`` who spoke."""

    def extract(self, passages: Sequence[Passage]) -> list[Candidate]:
        """The specifications in these passages, in reading order, with unique keys."""

    def contradictions(self, candidates: Sequence[Candidate]) -> list[Contradiction]:
        """What cannot hold together among these, worst first. Needs only their category and content."""


CANDIDATES: TypeAdapter[list[Candidate]] = TypeAdapter(list[Candidate])
CONTRADICTIONS: TypeAdapter[list[Contradiction]] = TypeAdapter(list[Contradiction])
