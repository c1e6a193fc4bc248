"""What reading a document gives, and the builder that all readers use."""

from typing import Final

from pydantic.dataclasses import dataclass

from agora.documents.errors import DocumentTooLong
from agora.language.ports import Layout, Passage

MAX_PAGES: Final = 1_000
MAX_CHARACTERS: Final = 5_000_000
MAX_PASSAGES: Final = 200_000
MAX_TITLE: Final = 200
_GAP: Final = "\n\n"
_HEADING_LEVELS: Final = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document as plain text. Passages are slices of ``text``; ``pages`` is 0 where the format has none."""

    text: str
    passages: tuple[Passage, ...]
    pages: int
    language: str
    media_type: str
    title: str


class Builder:
    """Collects the blocks of a document in order, keeping offsets true and headings above their passages."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._headings: list[tuple[int, str]] = []
        self.passages: list[Passage] = []
        self.title = ""

    @property
    def text(self) -> str:
        """The plain text so far."""
        return _GAP.join(self._parts)

    def heading(self, text: str, level: int) -> None:
        """A heading of a level (1 is the highest): it stands in the text, and above the passages that follow."""
        text = " ".join(text.split())
        if not text:
            return
        self._append(text)
        self.title = self.title or text[:MAX_TITLE]
        level = max(1, min(level, _HEADING_LEVELS))
        self._headings = [(depth, title) for depth, title in self._headings if depth < level] + [(level, text)]

    def block(self, text: str, *, layout: Layout = "paragraph", page: int | None = None) -> None:
        """A paragraph, item or row. White space is folded; an empty one is left out."""
        text = " ".join(text.split()) if layout != "code" else text.strip("\n")
        if not text.strip():
            return
        start = self._append(text)
        if len(self.passages) >= MAX_PASSAGES:
            raise DocumentTooLong(f"the document has more than {MAX_PASSAGES:,} paragraphs")
        self.passages.append(
            Passage(
                index=len(self.passages),
                text=text,
                start=start,
                end=start + len(text),
                heading=" / ".join(title for _, title in self._headings),
                page=page,
                layout=layout,
            )
        )

    def note(self, text: str) -> None:
        """Text that is part of the document but is no passage: the header of a table or of a mail."""
        text = " ".join(text.split())
        if text:
            self._append(text)

    def _append(self, text: str) -> int:
        start = self._length + (len(_GAP) if self._parts else 0)
        self._parts.append(text)
        self._length = start + len(text)
        if self._length > MAX_CHARACTERS:
            raise DocumentTooLong(f"the document has more than {MAX_CHARACTERS:,} characters")
        return start
