"""Cuts a passage into sentences without changing a character: every sentence is a slice of the passage."""

import re
from collections.abc import Iterator

from agora.language.ports import Passage

_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s+[\"'“‘(\[]?[A-Z0-9À-Þ])|[.!?]+[\"'”’)\]]*\s*$|;\s*(?=\n)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:[A-Z]|e\.g|E\.g|i\.e|I\.e|Mr|Mrs|Ms|Dr|Prof|St|vs|cf|resp|approx|incl|excl)$",
)
_NUMBERED = re.compile(
    r"(?:^|[\s(\[])(?:nos?|figs?|sec|ch|art|vol|ed|pp?|ca|max|min|ref|ver|rev|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)$",
    re.IGNORECASE,
)
"""Abbreviations only where a number follows: "no. 5", but "Answer yes or no."."""
_LEAD = re.compile(r"\s*(?:(?:[-*•▪◦–—·]|\(?[a-z]\)|\(?\d{1,3}[.)]|\d{1,3}(?:\.\d{1,3})+[.)]?|\[[ xX]?\])\s+)*")
_LABEL = re.compile(r"^\[?[A-Z][A-Za-z]{0,7}[-_. ]?\d{1,5}(?:[.-]\d{1,4})*[a-z]?\]?\s*[:.–—-]?\s+(?=[A-Z\"“'(])")
_IDENTIFIER = re.compile(r"^[A-Za-z]{0,8}[-_. ]?\d{1,5}(?:[.-]\d{1,4})*[a-z]?\.?$")
_CELL = re.compile(r"[^|]+")
SENTENCE_WORDS = 6
"""A cell with at least this many words and a full stop is a sentence of its own."""


def sentences(passage: Passage, *, priorities: frozenset[str] = frozenset()) -> list[tuple[int, int]]:
    """(start, end) of each sentence, as offsets into the passage. Labels, bullets and numbers in front are left out."""
    if passage.layout == "code":
        return []
    if passage.layout == "row":
        return list(_row(passage.text, priorities))
    return list(_prose(passage.text, 0, len(passage.text)))


def _prose(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    position = start
    for match in _END.finditer(text, start, end):
        if match.start() < position:
            continue
        if match.group().startswith(".") and match.end() < end and _is_abbreviation(text, position, match):
            continue
        yield from _trimmed(text, position, match.end())
        position = match.end()
    yield from _trimmed(text, position, end)


def _is_abbreviation(text: str, sentence_start: int, match: re.Match[str]) -> bool:
    before = text[max(sentence_start, match.start() - 12) : match.start()]
    number_follows = text[match.end() : match.end() + 8].lstrip()[:1].isdigit()
    # A number in front of the sentence ("2. The system") is no sentence of its own either.
    leading_number = match.start() - sentence_start <= 3 and before.strip().isdigit()  # noqa: PLR2004
    return leading_number or bool(_ABBREVIATION.search(before)) or (number_follows and bool(_NUMBERED.search(before)))


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    lead = _LEAD.match(text, start, end)
    start = lead.end() if lead else start
    label = _LABEL.match(text[start:end])
    if label:
        start += label.end()
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end


def _row(text: str, priorities: frozenset[str]) -> Iterator[tuple[int, int]]:
    cells = [(m.start(), m.end()) for m in _CELL.finditer(text) if m.group().strip()]
    kept = [cell for cell in cells if not _IDENTIFIER.match(text[slice(*cell)].strip())]
    while kept and text[slice(*kept[-1])].strip().lower() in priorities:
        kept.pop()
    whole = [cell for cell in kept if _is_sentence(text[slice(*cell)])]
    if whole:
        for start, end in whole:
            yield from _prose(text, start, end)
    elif kept:
        yield from _trimmed(text, kept[0][0], kept[-1][1])


def _is_sentence(cell: str) -> bool:
    return len(cell.split()) >= SENTENCE_WORDS and cell.rstrip().endswith((".", "!", ";"))
