"""DOCX: paragraphs, headings, lists and tables in the order of the document."""

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from xml.parsers import expat

from agora.documents.errors import DocumentCorrupt, DocumentEncrypted, DocumentError, DocumentTooLong
from agora.documents.model import MAX_TITLE, Builder

MAX_UNPACKED = 256 * 1024 * 1024
"""Bytes that all members of the archive may have together, as they are really unpacked."""
MAX_MEMBERS = 5_000
MAX_ELEMENTS = 2_000_000
"""XML elements of all parts together: each takes some 200 bytes once it is parsed."""
MAX_COLUMNS = 63
"""Columns of a table, as Word has it; a cell that claims to be wider is not believed."""
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
_BEFORE_XML = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"
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
    except (DocumentError, MemoryError):
        raise
    except Exception as error:  # over damaged bytes the parser raises whatever it happens upon
        raise DocumentCorrupt(f"the DOCX is damaged: {type(error).__name__}: {str(error)[:200]}") from error
    builder.title = title or builder.title


def _guard(data: bytes) -> None:
    """Unpack everything once, counting, before a parser sees it; and refuse XML that could declare entities."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise DocumentTooLong(f"the DOCX has {len(members):,} parts; at most {MAX_MEMBERS:,} are read")
            if any(member.flag_bits & 1 for member in members):
                raise DocumentEncrypted("the DOCX has encrypted parts")
            if len({member.filename for member in members}) < len(members):
                raise DocumentCorrupt("the DOCX has two parts of one name")
            look = _Look()
            for member in members:
                with archive.open(member) as stream:
                    look.through(member.filename, stream)
    except _BROKEN as error:
        raise DocumentCorrupt(f"the DOCX is no intact archive: {error}") from error


class _Look:
    """Counts what is in an archive. Expat reads XML in any encoding, and stops before a document type is read."""

    def __init__(self) -> None:
        self._bytes, self._elements = MAX_UNPACKED, MAX_ELEMENTS

    def through(self, name: str, stream: Any) -> None:
        """Look through one part. Raises DocumentTooLong, DocumentCorrupt."""
        parser, first = None, True
        while chunk := stream.read(_CHUNK):
            self._bytes -= len(chunk)
            if self._bytes < 0:
                raise DocumentTooLong(f"the DOCX unpacks to more than {MAX_UNPACKED // 1024**2} MiB")
            if first and (name.endswith((".xml", ".rels")) or chunk.lstrip(_BEFORE_XML)[:1] == b"<"):
                parser = self._parser(name)
            first = False
            try:
                if parser is not None:
                    parser.Parse(chunk, False)  # expat takes it by position
            except expat.ExpatError as error:
                raise DocumentCorrupt(f"the part {name} is no XML: {error}") from None

    def _parser(self, name: str) -> expat.XMLParserType:
        parser = expat.ParserCreate()

        def doctype(*_: object) -> None:
            raise DocumentCorrupt(f"the part {name} declares a document type, which no DOCX does")

        def element(*_: object) -> None:
            self._elements -= 1
            if self._elements < 0:
                raise DocumentTooLong(f"the DOCX has more than {MAX_ELEMENTS:,} elements")

        parser.StartDoctypeDeclHandler, parser.StartElementHandler = doctype, element
        return parser


def _add_blocks(builder: Builder, document: Any) -> None:
    from docx.table import Table  # noqa: PLC0415

    names = _style_names(document)
    for block in document.iter_inner_content():
        if isinstance(block, Table):
            _add_table(builder, block)
        else:
            _add_paragraph(builder, block, names)


def _style_names(document: Any) -> Mapping[str | None, str]:
    """The names of paragraph styles by id, the default's under None: the library searches all for each paragraph."""
    from docx.enum.style import WD_STYLE_TYPE  # noqa: PLC0415

    names: dict[str | None, str] = {}
    for style in document.styles:
        if style.type == WD_STYLE_TYPE.PARAGRAPH:
            names.setdefault(style.style_id, style.name or "")
    default = document.styles.default(WD_STYLE_TYPE.PARAGRAPH)
    return names | {None: (default.name or "") if default is not None else ""}


def _add_paragraph(builder: Builder, paragraph: Any, names: Mapping[str | None, str]) -> None:
    text: str = paragraph.text
    style = names.get(paragraph._p.style, names[None])  # noqa: SLF001
    numbered = paragraph._p.pPr is not None and paragraph._p.pPr.numPr is not None  # noqa: SLF001
    if style == "Title" or style.startswith("Heading"):
        level = style.removeprefix("Heading").strip()
        builder.heading(text, 1 + int(level) if level.isdigit() else 1)
    elif style.startswith("List") or numbered:
        builder.block(text, layout="item")
    else:
        for line in text.split("\n"):
            builder.block(line)


def _add_table(builder: Builder, table: Any) -> None:
    for position, cells in enumerate(_rows(table)):
        line = " | ".join(cell for cell in cells if cell)
        if position == 0 and _is_header(cells):
            builder.note(line)
        else:
            builder.block(line, layout="row")


def _rows(table: Any) -> Iterator[list[str]]:
    """The texts of each row's cells. One that goes on from above has the text of the cell above.

    Not by the library's ``cells``, which repeats a cell for each column that it claims, and climbs up for each row.
    """
    from docx.table import _Cell  # noqa: PLC0415

    above: dict[int, str] = {}
    for row in table._tbl.tr_lst:  # noqa: SLF001
        texts: list[str] = []
        column = min(row.grid_before, MAX_COLUMNS)
        for cell in row.tc_lst:
            goes_on = cell.vMerge == "continue"
            text = above.get(column, "") if goes_on else _Cell(cell, table).text
            above[column] = text
            column += min(cell.grid_span, MAX_COLUMNS)
            texts.append(" ".join(text.replace("|", "/").split()))
        yield texts


def _is_header(cells: list[str]) -> bool:
    return all(len(cell.split()) <= _HEADER_WORDS and not any(c.isdigit() for c in cell) for cell in cells)
