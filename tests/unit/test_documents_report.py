"""The report in its four formats."""

import io
import json
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from pypdf import PdfReader

from agora.documents.report import FORMATS, REPORT, Format, Report, render
from agora.documents.report_pdf import latin
from agora.language.ports import Candidate, Contradiction, Span
from agora.projects.scoring import score

NASTY = "<script>alert(1)</script> | pipe `tick` *star* [link](javascript:x) {{ 7*7 }} # “quoted” – € Łódź 日本 🦊"
TARGETS = {"goals": 10.0, "security": 10.0}


def candidate(content: str, key: str = "security.encryption", page: int | None = 3) -> Candidate:
    return Candidate(
        category="security",
        key=key,
        value=content[:40],
        content=content,
        confidence=0.85,
        reasoning=f"by {content}",
        span=Span(start=10, end=20, page=page),
    )


def report(content: str = NASTY) -> Report:
    left, right = candidate(content), candidate("Plain text must be sent.", "security.plain", None)
    clash = Contradiction(
        kind="contradiction",
        subject="requirement",
        severity="high",
        left=left,
        right=right,
        explanation=f"Why: {content}",
    )
    return Report(
        project=f"Project {content}",
        document="brief.md",
        made_at=datetime(2026, 5, 4, 3, 2, tzinfo=UTC),
        analyst="embedded",
        specifications=(left, right),
        contradictions=(clash,),
        scores=score(TARGETS, [("security", 0.85), ("security", 0.85)]),
        titles={"goals": "Goals", "security": "Security"},
    )


def empty() -> Report:
    full = report()
    return Report(
        project="Empty",
        document="a.txt",
        made_at=full.made_at,
        analyst="embedded",
        specifications=(),
        contradictions=(),
        scores=score(TARGETS, []),
        titles=full.titles,
    )


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_deterministic_and_survives_an_empty_report(name: Format) -> None:
    assert render(report(), name) == render(report(), name)
    assert render(empty(), name).data


def test_html_is_escaped_and_stands_alone() -> None:
    page = Tags()
    page.feed(render(report(), "html").data.decode())
    assert "script" not in page.tags
    assert page.addresses == []
    assert NASTY in page.text
    assert {"high", "85"} & set(page.text.split())
    for word in (
        "Plain text must be sent.",
        "page 3, characters 10-20",
        "Maturity",
        "Goals",
        "security.encryption",
        "0.85",
    ):
        assert word in page.text


def test_markdown_shows_user_text_as_text() -> None:
    source = render(report(), "markdown").data.decode()
    html = MarkdownIt("commonmark").enable("table").render(source)
    page = Tags()
    page.feed(html)
    assert "script" not in page.tags
    assert page.addresses == []
    assert NASTY in page.text
    assert page.tags.count("table") == 2


def test_json_round_trips() -> None:
    rendered = render(report(), "json")
    assert REPORT.validate_json(rendered.data) == report()
    assert json.loads(rendered.data)["contradictions"][0]["left"]["content"] == NASTY


def test_pdf_opens_and_holds_both_sentences() -> None:
    rendered = render(report("Data must be “encrypted” – always; 5 € in Łódź."), "pdf")
    text = " ".join(" ".join(page.extract_text() for page in PdfReader(io.BytesIO(rendered.data)).pages).split())
    assert 'Data must be "encrypted" - always; 5 EUR in Lódz.' in text
    for word in ("Plain text must be sent.", "page 3, characters 10-20", "Maturity", "Goals", "0.85"):
        assert word in text


def test_pdf_takes_any_text() -> None:
    assert latin("日本 🦊 ½ Straße naïve “x”…") == '?? ? ½ Straße naïve "x"...'
    long = report("x" * 3000 + " " + "w" * 200)
    assert PdfReader(io.BytesIO(render(long, "pdf").data)).pages


def test_unknown_format() -> None:
    with pytest.raises(ValueError, match="format must be one of markdown, html, json, pdf"):
        render(report(), "docx")  # type: ignore[arg-type]
