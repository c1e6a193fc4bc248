"""PDF: text page by page, running heads and feet left out, divided words joined."""

import io
import re
from collections import Counter
from collections.abc import Sequence

from pypdf import PdfReader
from pypdf.errors import PdfReadError, PyPdfError

from agora.documents.errors import DocumentCorrupt, DocumentEncrypted, DocumentError, DocumentTooLong
from agora.documents.model import MAX_CHARACTERS, MAX_PAGES, MAX_TITLE, Builder
from agora.documents.plain import add_plain, dehyphenate

_REPEATED = 0.6
_MIN_PAGES = 3
_EDGE_LINES = 2
_HEAD_LENGTH = 90
_MODAL = re.compile(r"\b(?:shall|must|should|will)\b", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")


def add_pdf(builder: Builder, data: bytes) -> int:
    """Add the text of a PDF and return its number of pages.

    Raises DocumentEncrypted, DocumentTooLong, DocumentCorrupt.
    """
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        _open(reader)
        pages = len(reader.pages)
        _check_length(pages)
        texts = _texts(reader)
        title = _title(reader)
    except PyPdfError as error:
        raise DocumentCorrupt(f"the PDF cannot be read: {error}") from error
    except (DocumentError, MemoryError):
        raise
    except Exception as error:  # over damaged bytes the parser raises whatever it happens upon
        raise DocumentCorrupt(f"the PDF is damaged: {type(error).__name__}") from error
    _add_pages(builder, texts)
    builder.title = title or builder.title
    return pages


def _check_length(pages: int) -> None:
    if pages > MAX_PAGES:
        raise DocumentTooLong(f"the PDF has {pages:,} pages; at most {MAX_PAGES:,} are read", pages=pages)


def _open(reader: PdfReader) -> None:
    """A PDF that opens with the empty password is readable by everyone, so it is read."""
    if not reader.is_encrypted:
        return
    try:
        opened = reader.decrypt("")
    except (PyPdfError, NotImplementedError) as error:
        raise DocumentEncrypted("the PDF is encrypted in a way that cannot be opened") from error
    if not opened:
        raise DocumentEncrypted("the PDF needs a password")


def _texts(reader: PdfReader) -> list[str]:
    texts: list[str] = []
    length = 0
    for page in reader.pages:
        text = page.extract_text() or ""
        length += len(text)
        if length > MAX_CHARACTERS:
            raise DocumentTooLong(f"the PDF has more than {MAX_CHARACTERS:,} characters")
        texts.append(text.replace("\x00", ""))
    return texts


def _title(reader: PdfReader) -> str:
    try:
        title = reader.metadata.title if reader.metadata else ""
    except PdfReadError:
        return ""
    return " ".join(str(title or "").split())[:MAX_TITLE]


def _add_pages(builder: Builder, texts: Sequence[str]) -> None:
    lines = [[line.rstrip() for line in text.split("\n")] for text in texts]
    running = _running(lines)
    for number, page in enumerate(lines, 1):
        kept = _without(page, running)
        spaced = sum(1 for line in kept if not line.strip()) > len(kept) / 10
        add_plain(builder, dehyphenate(kept), page=number, spaced=spaced)


def _running(pages: Sequence[Sequence[str]]) -> frozenset[str]:
    """Lines at the edges of most pages, whatever number they carry: running heads and feet. No full sentences."""
    if len(pages) < _MIN_PAGES:
        return frozenset()
    seen: Counter[str] = Counter()
    for page in pages:
        seen.update({_shape(page[position]) for position in _edges(page)})
    return frozenset(
        shape
        for shape, count in seen.items()
        if count >= _REPEATED * len(pages)
        and len(shape) <= _HEAD_LENGTH
        and not shape.endswith((".", "!", "?", ";"))
        and not _MODAL.search(shape)
    )


def _without(page: Sequence[str], running: frozenset[str]) -> list[str]:
    dropped = {position for position in _edges(page) if _shape(page[position]) in running}
    return [line for position, line in enumerate(page) if position not in dropped]


def _edges(page: Sequence[str]) -> list[int]:
    """The positions of the first and last lines with text."""
    filled = [position for position, line in enumerate(page) if line.strip()]
    return sorted({*filled[:_EDGE_LINES], *filled[-_EDGE_LINES:]})


def _shape(line: str) -> str:
    return _DIGITS.sub("#", " ".join(line.split()))
