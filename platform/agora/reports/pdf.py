"""The report as PDF. The built-in fonts know Western European characters; others are shown as a question mark."""

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from agora.reports.model import Report, Section

WIDTH = 180
SUBSTITUTES = str.maketrans({
    "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "•": "-",
    "≤": "<=", "≥": ">=", "→": "->", "\u00a0": " ", "−": "-", "€": "EUR",
})  # fmt: skip
INK, SOFT, RED = (27, 31, 36), (87, 96, 106), (179, 38, 30)


def latin(text: str) -> str:
    """Text in the characters that the built-in fonts have."""
    return " ".join(text.translate(SUBSTITUTES).split()).encode("latin-1", "replace").decode("latin-1")


class _Paper(FPDF):
    def line_of(self, text: str, *, size: float = 10, style: str = "", colour: tuple[int, int, int] = INK) -> None:
        self.set_font("Helvetica", style, size)
        self.set_text_color(*colour)
        self.multi_cell(WIDTH, size * 0.5, latin(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def footer(self) -> None:
        self.set_y(-12)
        self.set_font("Helvetica", "", 8)
        self.set_text_color(*SOFT)
        self.cell(WIDTH, 5, f"{self.page_no()} / {{nb}}", align="C")


def render_pdf(report: Report) -> bytes:
    """The report as the bytes of a PDF file."""
    paper = _Paper(format="A4")
    paper.set_margins(15, 15)
    paper.set_auto_page_break(auto=True, margin=18)
    paper.set_title(latin(report.name))
    paper.add_page()
    paper.line_of(report.name, size=20, style="B")
    paper.line_of(f"from {report.document}; analyst: {report.analyst}", colour=SOFT)
    paper.ln(4)
    _figures(paper, report)
    _conflicts(paper, report)
    for section in report.sections:
        _section(paper, section)
    return bytes(paper.output())


def _figures(paper: _Paper, report: Report) -> None:
    scores = report.scores
    paper.line_of(
        f"{report.total} specifications, coverage {scores.coverage:.0%}, maturity {scores.maturity} of 100, "
        f"readiness {scores.readiness:.2f}, {len(report.conflicts)} contradictions"
    )
    paper.ln(3)


def _conflicts(paper: _Paper, report: Report) -> None:
    paper.line_of("Contradictions", size=14, style="B")
    if not report.conflicts:
        paper.line_of("None found.", colour=SOFT)
    for one in report.conflicts:
        paper.ln(1)
        paper.line_of(f"{one.severity}: {one.explanation}", style="B", colour=RED)
        paper.line_of(f"1. {one.left.content}")
        paper.line_of(f"2. {one.right.content}")
    paper.ln(3)


def _section(paper: _Paper, section: Section) -> None:
    paper.line_of(f"{section.title} ({len(section.specifications)} of {section.target:g})", size=14, style="B")
    if not section.specifications:
        paper.line_of("Nothing yet.", colour=SOFT)
    for one in section.specifications:
        paper.ln(1)
        paper.line_of(one.content)
        page = f", page {one.span.page}" if one.span and one.span.page else ""
        paper.line_of(f"{one.key} = {one.value}   confidence {one.confidence:.2f}{page}", size=8, colour=SOFT)
    paper.ln(3)
