"""Reads a document of any kind that Agora knows into plain text with passages."""

import re

from agora.documents.detect import language_name, language_of
from agora.documents.encoding import decode
from agora.documents.errors import DocumentBinary, DocumentEmpty, DocumentLanguage, DocumentTooLong
from agora.documents.model import MAX_TITLE, Builder, Document
from agora.documents.plain import add_plain

TEXT = "text/plain"
MARKDOWN = "text/markdown"
PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
MAX_BYTES = 64 * 1024 * 1024
LANGUAGES = frozenset({"en"})
"""What the embedded analyst understands."""

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
_EXTENSIONS = {"md": MARKDOWN, "markdown": MARKDOWN, "txt": TEXT, "text": TEXT, "pdf": PDF, "docx": DOCX}
_STRONG_SIGN = re.compile(r"^(?:#{1,6} \S|\|[-: |]+\|\s*$|```)", re.MULTILINE)


def read_document(data: bytes, media_type: str | None, name: str) -> Document:
    """The document as plain text. The bytes decide first, then ``media_type``, then the name's extension.

    Raises DocumentError's children: empty, binary, encrypted, too long, corrupt, or not in English.
    """
    if len(data) > MAX_BYTES:
        raise DocumentTooLong(f"{name} has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    if not data.strip():
        raise DocumentEmpty(f"{name} is empty")
    builder = Builder()
    kind, pages = _fill(builder, data, media_type, name)
    text = builder.text
    if not any(char.isalnum() for char in text):
        scanned = "; a scanned document needs text recognition first" if kind == PDF else ""
        raise DocumentEmpty(f"{name} has no text{scanned}")
    language = language_of(text)
    if language not in LANGUAGES:
        detail = f"{name} is in {language_name(language)}; only English is understood"
        raise DocumentLanguage(detail, language=language)
    return Document(
        text=text,
        passages=tuple(builder.passages),
        pages=pages,
        language=language,
        media_type=kind,
        title=(builder.title or name)[:MAX_TITLE],
    )


def read_text(text: str) -> Document:
    """A text as it was typed: an answer, a chat turn, a brief. Raises DocumentError's children."""
    return read_document(text.encode(), MARKDOWN if _STRONG_SIGN.search(text) else TEXT, "text")


def _fill(builder: Builder, data: bytes, media_type: str | None, name: str) -> tuple[str, int]:
    """Let the right reader fill the builder. Returns the media type and the number of pages."""
    if data[:1024].lstrip().startswith(b"%PDF-"):
        from agora.documents.pdf import add_pdf  # noqa: PLC0415  # heavy, and only for PDFs

        return PDF, add_pdf(builder, data)
    if data.startswith((_ZIP, _OLE)):
        _fill_archive(builder, data, media_type, name)
        return DOCX, 0
    return _fill_text(builder, decode(data), media_type, name), 0


def _fill_archive(builder: Builder, data: bytes, media_type: str | None, name: str) -> None:
    claimed = _claimed(media_type, name)
    if claimed != DOCX and b"word/" not in data:
        raise DocumentBinary(f"{name} is an archive, and no DOCX")
    if data.startswith(_OLE) and claimed != DOCX:
        raise DocumentBinary(f"{name} is an old Office document (such as .doc); save it as DOCX or PDF")
    from agora.documents.docx import add_docx  # noqa: PLC0415  # heavy, and only for DOCX

    add_docx(builder, data)


def _fill_text(builder: Builder, text: str, media_type: str | None, name: str) -> str:
    claimed = _claimed(media_type, name)
    if claimed in {PDF, DOCX}:
        raise DocumentBinary(f"{name} claims to be {'a PDF' if claimed == PDF else 'a DOCX'} but is not")
    if claimed == MARKDOWN or (claimed is None and _STRONG_SIGN.search(text)):
        from agora.documents.markdown import add_markdown  # noqa: PLC0415

        add_markdown(builder, text)
        return MARKDOWN
    add_plain(builder, text)
    return TEXT


def _claimed(media_type: str | None, name: str) -> str | None:
    plain = (media_type or "").split(";")[0].strip().lower()
    if plain in {MARKDOWN, "text/x-markdown", PDF, DOCX}:
        return MARKDOWN if "markdown" in plain else plain
    extension = name.rsplit(".", 1)[-1].lower() if "." in name else ""
    return _EXTENSIONS.get(extension) or (TEXT if plain == TEXT else None)
