"""Reading documents: every format, and every defined end."""

import io
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import docx
import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from agora.documents.encoding import decode
from agora.documents.errors import (
    DocumentBinary,
    DocumentCorrupt,
    DocumentEmpty,
    DocumentEncrypted,
    DocumentError,
    DocumentLanguage,
    DocumentTooLong,
)
from agora.documents.model import Document
from agora.documents.read import DOCX, MARKDOWN, PDF, TEXT, read_document, read_text

GERMAN = (
    "Das System muss alle Anfragen innerhalb von zwei Sekunden beantworten. Die Daten werden jeden Tag gesichert und "
    "an einem zweiten Ort aufbewahrt, damit nach einem Ausfall nichts verloren geht. Jede Änderung wird protokolliert."
)
FRENCH = (
    "Le système doit répondre à toutes les demandes en moins de deux secondes. Les données sont sauvegardées chaque "
    "jour et conservées dans un second lieu, afin que rien ne soit perdu après une panne. Tout est tracé."
)
RUSSIAN = "Система должна отвечать на все запросы за две секунды. Данные сохраняются каждый день в другом месте."


def read(data: bytes, name: str, media_type: str | None = None) -> Document:
    document = read_document(data, media_type, name)
    for index, passage in enumerate(document.passages):
        assert passage.index == index
        assert document.text[passage.start : passage.end] == passage.text
    return document


def make_pdf(pages: list[list[str]], *, footer: str = "") -> bytes:
    pdf = FPDF()
    pdf.set_font("Helvetica", size=11)
    for number, paragraphs in enumerate(pages, 1):
        pdf.add_page()
        for text in paragraphs:
            pdf.multi_cell(0, 6, text, new_x="LMARGIN", new_y="NEXT")
        if footer:
            pdf.multi_cell(0, 6, f"{footer} {number}", new_x="LMARGIN", new_y="NEXT")
    return bytes(pdf.output())


def make_docx() -> docx.document.Document:
    document = docx.Document()
    document.add_heading("Shop", 0)
    document.add_heading("Speed", 1)
    document.add_paragraph("The shop must answer within 2 s.")
    document.add_paragraph("Cards must be accepted.", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, (("No.", "Requirement"), ("F1", "The list must be exported.")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    document.add_paragraph("The end.")
    return document


def saved(document: docx.document.Document) -> bytes:
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def test_markdown_loses_its_syntax_and_keeps_its_structure() -> None:
    source = (
        "# Shop\n\nIntro with **bold**, `code` and a [link](https://example.org/x).\n\n## Speed\n\n"
        "- The shop must\n  answer.\n"
        "  - Nested one.\n\n| No | Need |\n|---|---|\n| F1 | Export it. |\n\n```\ncode\n```\n\n<b>html</b> text\n"
    )
    document = read(source.encode(), "a.md")
    assert (document.media_type, document.title, document.pages, document.language) == (MARKDOWN, "Shop", 0, "en")
    shown = [(p.layout, p.heading, p.text) for p in document.passages]
    assert shown == [
        ("paragraph", "Shop", "Intro with bold, code and a link."),
        ("item", "Shop / Speed", "The shop must answer."),
        ("item", "Shop / Speed", "Nested one."),
        ("row", "Shop / Speed", "F1 | Export it."),
        ("code", "Shop / Speed", "code"),
        ("paragraph", "Shop / Speed", "html text"),
    ]


def test_plain_text_joins_wrapped_lines_and_finds_headings() -> None:
    source = (
        "From: Ann\nSubject: The shop\n\nDear all,\n\nSpeed and size\n\nThe shop must answer\n"
        "within two seconds, and\nnever fail.\n"
        "\n3.2 Growth\n\n1. It must grow\n   quickly.\n2. It must scale.\n- A bullet\n\nNEEDS\nMore text here.\n"
    )
    document = read(source.encode(), "a.txt")
    assert document.title == "The shop"
    shown = [(p.layout, p.heading, p.text) for p in document.passages]
    assert ("paragraph", "Speed and size", "The shop must answer within two seconds, and never fail.") in shown
    assert ("item", "3.2 Growth", "1. It must grow quickly.") in shown
    assert ("item", "3.2 Growth", "2. It must scale.") in shown
    assert shown[-1] == ("paragraph", "NEEDS", "More text here.")


def test_docx_with_headings_lists_and_tables_in_order() -> None:
    document = read(saved(make_docx()), "a.docx", DOCX)
    assert (document.media_type, document.title) == (DOCX, "Shop")
    assert [(p.layout, p.heading, p.text) for p in document.passages] == [
        ("paragraph", "Shop / Speed", "The shop must answer within 2 s."),
        ("item", "Shop / Speed", "Cards must be accepted."),
        ("row", "Shop / Speed", "F1 | The list must be exported."),
        ("paragraph", "Shop / Speed", "The end."),
    ]


def test_pdf_has_pages_joins_lines_and_drops_running_feet() -> None:
    long = "The shop must answer every question of every customer within two seconds, by day and by night."
    data = make_pdf(
        [[f"Chapter {n}", long, "Orders must be kept."] for n in range(1, 5)], footer="Shop specification, page"
    )
    document = read(data, "a.pdf")
    assert (document.media_type, document.pages) == (PDF, 4)
    assert {p.page for p in document.passages} == {1, 2, 3, 4}
    assert sum(long in p.text for p in document.passages) == 4
    assert "specification, page" not in document.text


def test_pdf_words_divided_at_a_line_end_are_joined() -> None:
    document = read(make_pdf([["The service needs high avail-\nability in all its parts."]]), "a.pdf")
    assert "high availability in" in document.text


@pytest.mark.no_cover  # tracing would take most of its time
def test_a_300_page_pdf_is_read_and_understood_in_bounded_time() -> None:
    from agora.language.embedded import EmbeddedAnalyst  # noqa: PLC0415
    from domains.loader import load_domain  # noqa: PLC0415

    lines = [
        f"The machine must stop within {n} seconds when sensor {n} reports a fault in the hall." for n in range(2, 22)
    ]
    data = make_pdf([[f"{page}.{line}" for line in lines] for page in range(300)])
    started = time.perf_counter()
    document = read(data, "big.pdf")
    candidates = EmbeddedAnalyst(load_domain("base").lexicon).extract(document.passages)
    assert document.pages == 300
    assert len(candidates) > 1000
    assert time.perf_counter() - started < 60


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-32"])
def test_text_encodings(encoding: str) -> None:
    text = "The café must be open – always.\r\nPrices in £ must be shown."
    assert decode(text.encode(encoding)) == text.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("data", "name", "media_type", "error"),
    [
        (b"", "a.txt", None, DocumentEmpty),
        (b" \n\t ", "a.md", None, DocumentEmpty),
        (b"***\n---\n", "a.md", None, DocumentEmpty),
        (make_pdf([[]]), "scan.pdf", PDF, DocumentEmpty),
        (bytes(range(256)) * 20, "a.bin", None, DocumentBinary),
        (b"\x89PNG\r\n\x1a\n" + b"\x00\x01\x02" * 100, "a.txt", TEXT, DocumentBinary),
        (b"plain text, no pdf", "a.pdf", PDF, DocumentBinary),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "a.doc", None, DocumentBinary),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "a.docx", DOCX, DocumentEncrypted),
        (b"%PDF-1.7\nnothing more", "a.pdf", PDF, DocumentCorrupt),
        (b"PK\x03\x04broken", "a.docx", DOCX, DocumentCorrupt),
        (saved(make_docx())[:-400], "a.docx", DOCX, DocumentCorrupt),
        (make_pdf([["Hello"]])[:300], "a.pdf", PDF, DocumentCorrupt),
        (b"The end. " * 600_000, "a.txt", TEXT, DocumentTooLong),
        (GERMAN.encode(), "a.txt", TEXT, DocumentLanguage),
        (FRENCH.encode(), "a.txt", TEXT, DocumentLanguage),
        (RUSSIAN.encode(), "a.txt", TEXT, DocumentLanguage),
    ],
)
def test_defined_ends(data: bytes, name: str, media_type: str | None, error: type[DocumentError]) -> None:
    with pytest.raises(DocumentError) as caught:
        read_document(data, media_type, name)
    assert type(caught.value) is error, caught.value
    assert caught.value.code == error.slug
    assert str(caught.value)


@pytest.mark.parametrize(("text", "name"), [(GERMAN, "German"), (FRENCH, "French")])
def test_the_language_is_named(text: str, name: str) -> None:
    with pytest.raises(DocumentLanguage, match=name):
        read_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "Schnell!",
        "MySQL, PostgreSQL, Redis",
        "The Übergang must be fast.",
        "Système: the system must answer in French.",
        "OK",
    ],
)
def test_short_and_mixed_texts_count_as_english(text: str) -> None:
    assert read_text(text).language == "en"


def test_encrypted_pdf() -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf([["Secret must stay secret."]]))))
    writer.encrypt(user_password="secret", algorithm="AES-256")
    stream = io.BytesIO()
    writer.write(stream)
    with pytest.raises(DocumentEncrypted, match="password"):
        read_document(stream.getvalue(), PDF, "a.pdf")


def test_a_pdf_that_only_forbids_printing_is_read() -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf([["The shop must be open."]]))))
    writer.encrypt(user_password="", owner_password="owner", algorithm="AES-256")
    stream = io.BytesIO()
    writer.write(stream)
    assert "The shop must be open." in read(stream.getvalue(), "a.pdf").text


def test_too_many_pages() -> None:
    pdf = FPDF()
    for _ in range(1001):
        pdf.add_page()
    with pytest.raises(DocumentTooLong, match=r"1,001 pages"):
        read_document(bytes(pdf.output()), PDF, "a.pdf")


def repacked(part: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(make_docx()))) as source,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for member in source.infolist():
            target.writestr(member.filename, content if member.filename == part else source.read(member))
    return stream.getvalue()


def test_a_zip_bomb_is_refused_before_it_is_parsed() -> None:
    bomb = repacked("word/styles.xml", b" " * (300 * 1024 * 1024))
    assert len(bomb) < 1024 * 1024
    with pytest.raises(DocumentTooLong, match="unpacks"):
        read_document(bomb, DOCX, "a.docx")


def test_entities_in_a_docx_are_refused() -> None:
    xml = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
    with pytest.raises(DocumentCorrupt, match="document type"):
        read_document(repacked("word/document.xml", xml), DOCX, "a.docx")


def test_an_archive_that_is_no_docx() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(DocumentBinary):
        read_document(stream.getvalue(), None, "a.zip")


@settings(max_examples=80, deadline=None)
@given(
    data=st.one_of(st.binary(max_size=600), st.text(max_size=600).map(str.encode)),
    name=st.sampled_from(["a.txt", "a.md", "a"]),
)
def test_any_bytes_end_in_a_document_or_a_defined_error(data: bytes, name: str) -> None:
    with suppress(DocumentError):
        read(data, name)


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 4000), noise=st.binary(max_size=40))
def test_damaged_pdfs_end_in_a_document_or_a_defined_error(cut: int, noise: bytes) -> None:
    good = make_pdf([["The shop must be open."], ["It must close."]])
    with suppress(DocumentError):
        read(good[:cut] + noise + good[cut + len(noise) :], "a.pdf", PDF)


def test_import_is_cheap() -> None:
    code = (
        "import sys; import agora.documents.read, agora.documents.report, agora.language.embedded;"
        "print([m for m in ('numpy', 'py3langid', 'pypdf', 'fpdf', 'docx', 'lxml', 'markdown_it') if m in sys.modules])"
    )
    root = Path(__file__).parent.parent.parent / "platform"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == "[]"
