"""DOCX: paragraphs, headings, lists and tables in the order of the document."""

import io
import zipfile
import zlib
from collections.abc import Iterator

from agora.documents.errors import DocumentCorrupt, DocumentEncrypted, DocumentError, DocumentTooLong
from agora.documents.model import MAX_TITLE, Builder

MAX_UNPACKED = 256 * 1024 * 1024
"""Bytes that all members of the archive may have together, as they are really unpacked."""
MAX_MEMBERS = 5_000
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
)
_CHUNK = 1024 * 1024
_HEADER_WORDS = 4
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def add_docx(builder: Builder, data: bytes) -> None:
    """Add the text of a DOCX. Raises DocumentEncrypted, DocumentTooLong, DocumentCorrupt."""
    if data.startswith(_OLE):
        raise DocumentEncrypted("the file is an encrypted or old (.doc) Word document")
    _guard(data)
    import docx  # noqa: PLC0415  # lxml is slow to import

    try:
        document = docx.Document(io.BytesIO(data))
        _add_blocks(builder, document)
        title = " ".join((document.core_properties.title or "").split())[:MAX_TITLE]
    except DocumentError:
        raise
    except Exception as error:  # over damaged bytes the parser raises whatever it happens upon
        raise DocumentCorrupt(f"the DOCX is damaged: {type(error).__name__}: {str(error)[:200]}") from error
    builder.title = title or builder.title


def _guard(data: bytes) -> None:
    """Unpack everything once, counting, before a parser sees it; and refuse XML that declares entities."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise DocumentTooLong(f"the DOCX has {len(members):,} parts; at most {MAX_MEMBERS:,} are read")
            if any(member.flag_bits & 1 for member in members):
                raise DocumentEncrypted("the DOCX has encrypted parts")
            left = MAX_UNPACKED
            for member in members:
                left = _count(archive, member, left)
    except _BROKEN as error:
        raise DocumentCorrupt(f"the DOCX is no intact archive: {error}") from error


def _count(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int) -> int:
    is_xml = member.filename.endswith((".xml", ".rels"))
    with archive.open(member) as stream:
        head = True
        while chunk := stream.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise DocumentTooLong(f"the DOCX unpacks to more than {MAX_UNPACKED // 1024**2} MiB")
            if head and is_xml and b"<!DOCTYPE" in chunk[:4096]:
                raise DocumentCorrupt(f"the part {member.filename} declares a document type, which no DOCX does")
            head = False
    return left


def _add_blocks(builder: Builder, document: object) -> None:
    from docx.table import Table  # noqa: PLC0415

    for block in document.iter_inner_content():  # type: ignore[attr-defined]
        if isinstance(block, Table):
            _add_table(builder, block)
        else:
            _add_paragraph(builder, block)


def _add_paragraph(builder: Builder, paragraph: object) -> None:
    text: str = paragraph.text  # type: ignore[attr-defined]
    style = (paragraph.style.name if paragraph.style is not None else "") or ""  # type: ignore[attr-defined]
    numbered = paragraph._p.pPr is not None and paragraph._p.pPr.numPr is not None  # type: ignore[attr-defined]  # noqa: SLF001
    if style == "Title" or style.startswith("Heading"):
        level = style.removeprefix("Heading").strip()
        builder.heading(text, 1 + int(level) if level.isdigit() else 1)
    elif style.startswith("List") or numbered:
        builder.block(text, layout="item")
    else:
        for line in text.split("\n"):
            builder.block(line)


def _add_table(builder: Builder, table: object) -> None:
    for position, cells in enumerate(_rows(table)):
        line = " | ".join(cell for cell in cells if cell)
        if position == 0 and _is_header(cells):
            builder.note(line)
        else:
            builder.block(line, layout="row")


def _rows(table: object) -> Iterator[list[str]]:
    for row in table.rows:  # type: ignore[attr-defined]
        texts: list[str] = []
        previous = None
        for cell in row.cells:
            if cell._tc is previous:  # noqa: SLF001  # a merged cell shows once per column
                continue
            previous = cell._tc  # noqa: SLF001
            texts.append(" ".join(cell.text.replace("|", "/").split()))
        yield texts


def _is_header(cells: list[str]) -> bool:
    return all(len(cell.split()) <= _HEADER_WORDS and not any(c.isdigit() for c in cell) for cell in cells)
