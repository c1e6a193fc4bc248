"""Plain text: finds headings, paragraphs, items and rows in lines, and joins what was wrapped."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from agora.documents.model import MAX_TITLE, Builder

Kind = Literal["heading", "paragraph", "item", "row", "note"]

_BULLET = re.compile(r"^\s*(?:[-*+•▪◦‣–—·o]|\(?[a-z]\)|\(?\d{1,3}[.)])\s+(?=\S)")
_NUMBER = re.compile(r"^\s*(\d{1,2}(?:\.\d{1,2}){0,5})\.?\s+(?=\S)")
_LABEL = re.compile(r"^\s*\[?[A-Z]{1,8}[-_. ]?\d{1,5}(?:[.-]\d{1,4})*\]?\s*[:.–—-]?\s+(?=[A-Z])")
_UNDERLINE = re.compile(r"^\s*(?:=|-|~|\*|#){3,}\s*$")
_MAIL = re.compile(r"^(?:From|To|Cc|Bcc|Subject|Date|Sent|Reply-To|Betreff)\s*:\s*\S")
_FINAL = re.compile(r"[.!?:;,]['\"”’)]*$")
_VERB = re.compile(r"\b(?:shall|must|should|will|may|can|is|are|was|were|has|have|need|needs|want)\b", re.IGNORECASE)
_HEADING_WORDS = 10
_HEADING_LENGTH = 90
_SHORT_LINE = 0.75
_DEFAULT_WIDTH = 60


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of plain text and what it is; ``level`` is a heading's, 1 the highest."""

    kind: Kind
    text: str
    level: int = 0


def add_plain(builder: Builder, text: str, *, page: int | None = None, spaced: bool = True) -> None:
    """Add the blocks of a text. ``spaced``: paragraphs and headings have blank lines around them (PDFs have none)."""
    for block in blocks(text.split("\n"), spaced=spaced):
        match block.kind:
            case "heading":
                builder.heading(block.text, block.level)
            case "note":
                builder.note(block.text)
                if block.text.startswith("Subject:"):
                    builder.title = builder.title or block.text.removeprefix("Subject:").strip()[:MAX_TITLE]
            case _:
                builder.block(block.text, layout=block.kind, page=page)


def blocks(lines: Sequence[str], *, spaced: bool = True) -> Iterator[Block]:
    """The blocks of these lines, wrapped lines joined by a space."""
    lengths = sorted(len(line.strip()) for line in lines if line.strip())
    width = lengths[int(len(lengths) * 0.9)] if lengths else _DEFAULT_WIDTH
    held: list[str] = []
    kind: Kind = "paragraph"
    for position, line in enumerate(lines):
        started = _starts(lines, position, spaced=spaced)
        ends_before = started is not None or not line.strip() or _breaks(held, line, width=width, spaced=spaced)
        if held and ends_before:
            yield Block(kind, " ".join(held))
            held, kind = [], "paragraph"
        if started is not None and started.kind in {"heading", "row", "note"}:
            if started.text:
                yield started
        elif line.strip():
            held.append(line.strip())
            kind = started.kind if started is not None else kind
    if held:
        yield Block(kind, " ".join(held))


def _starts(lines: Sequence[str], position: int, *, spaced: bool) -> Block | None:
    """What begins at this line; None when it goes on what was before."""
    line = lines[position]
    stripped = line.strip()
    if not stripped:
        return None
    if _UNDERLINE.match(line):
        return Block("note", "")
    if _MAIL.match(line):
        return Block("note", stripped)
    if stripped.count("\t") >= 1 or stripped.count(" | ") >= 1:
        cells = [cell.strip() for cell in re.split(r"\t+|\|", stripped) if cell.strip()]
        if len(cells) > 1:
            return Block("row", " | ".join(cells))
    level = _heading_level(lines, position, spaced=spaced)
    if level:
        return Block("heading", stripped, level)
    if _BULLET.match(line) or _NUMBER.match(line) or _LABEL.match(line):
        before = lines[position - 1].strip() if position else ""
        wrapped_number = bool(before) and not _FINAL.search(before) and bool(re.match(r"\d+(?:\.\d+)*\.?\s", stripped))
        return None if wrapped_number and not _BULLET.match(line) else Block("item", stripped)
    return None


def _heading_level(lines: Sequence[str], position: int, *, spaced: bool) -> int:
    stripped = lines[position].strip()
    after = lines[position + 1] if position + 1 < len(lines) else ""
    number = _NUMBER.match(stripped)
    title = stripped[number.end() :] if number else stripped
    if _UNDERLINE.match(after) and len(stripped) <= _HEADING_LENGTH:
        return 1 if "=" in after else 2
    if not _looks_like_title(title):
        return 0
    if number:
        # "3. Fast import" in a list is an item; with a dot-free number or a section number it is a heading.
        return 1 + number.group(1).count(".") if not re.match(r"\d+\.\s", stripped) or title.isupper() else 0
    if title.isupper() and len(title) > 3:  # noqa: PLR2004  # not an abbreviation
        return 1
    alone = position > 0 and not lines[position - 1].strip() and not after.strip() and bool(after or len(lines) > 1)
    return 2 if spaced and alone and position + 1 < len(lines) else 0


def _looks_like_title(text: str) -> bool:
    words = text.split()
    return (
        0 < len(words) <= _HEADING_WORDS
        and len(text) <= _HEADING_LENGTH
        and text[0].isupper()
        and not _FINAL.search(text)
        and not (_VERB.search(text) and len(words) > 5)  # noqa: PLR2004  # "How it is built" is a title
        and not _BULLET.match(text)
        and not text[0].isdigit()
    )


def _breaks(held: Sequence[str], line: str, *, width: int, spaced: bool) -> bool:
    """Without blank lines, a paragraph ends with a sentence on a line that is clearly shorter than the others."""
    if spaced or not held:
        return False
    last = held[-1]
    return bool(re.search(r"[.!?]['\"”’)]*$", last)) and len(last) < _SHORT_LINE * width and line.strip()[:1].isupper()


def dehyphenate(lines: Iterable[str]) -> str:
    """Join words that were divided at the end of a line: "avail-" + "able" gives "available"."""
    text = "\n".join(lines)
    return re.sub(r"([^\W\d_]{2,})-\n([a-zß-ÿ]{2,})", r"\1\2", text).replace("\u00ad", "")
