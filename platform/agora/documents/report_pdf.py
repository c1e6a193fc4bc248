"""The report as a PDF with the built-in fonts: no font file is needed, and every text has a form in them."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace

from agora.documents.report_view import Clash, Section, View

_SIGNS = {
    "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2018": "'", "\u2019": "'",
    "\u201a": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2026": "...", "\u2022": "\u00b7", "\u20ac": "EUR",
    "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u2248": "~", "\u2192": "->", "\u2190": "<-", "\u00a0": " ",
    "\u202f": " ", "\u2009": " ", "\u2713": "yes", "\u2717": "no", "\u2122": "(TM)", "\u0142": "l", "\u0141": "L",
    "\u0111": "d", "\u0153": "oe", "\u0152": "OE", "\u0131": "i",
}  # fmt: skip
_LINE = 5.0
_MAX_CELL = 1500
"""Longer texts are cut in a table, as a row must fit on a page; the other formats show them whole."""
_LONGEST = 60
"""A word longer than this is cut into pieces, so that it can be broken at the edge of a column."""


def pdf(view: View, made_at: datetime) -> bytes:
    """The report as a PDF. ``made_at`` is its creation date, so the same report gives the same bytes."""
    page = _Page()
    page.set_creation_date(made_at)
    page.set_title(latin(view.project))
    page.add_page()
    page.line_of(view.project, size=18, bold=True)
    page.line_of(f"Found in {view.document} on {view.made_at} by the {view.analyst} analyst.", grey=True)
    page.ln(2)
    page.table_of((("Figure", "Value"), *view.figures), widths=(1, 2))
    page.title_of("Contradictions")
    for clash in view.clashes:
        _clash(page, clash)
    if not view.clashes:
        page.line_of("None was found.")
    page.title_of("Gaps")
    if view.lacks:
        rows = [(lack.title, lack.share, lack.detail) for lack in view.lacks]
        page.table_of((("Category", "Reached", "Detail"), *rows), widths=(3, 1, 3))
    else:
        page.line_of("Every category reaches its target.")
    page.title_of("Specifications")
    for section in view.sections:
        _section(page, section)
    if not view.sections:
        page.line_of("None was found.")
    return bytes(page.output())


def _clash(page: "_Page", clash: Clash) -> None:
    page.line_of(f"{clash.severity}: {clash.kind}, {clash.subject}", bold=True)
    page.line_of(f'"{clash.left}" ({clash.left_source})')
    page.line_of(f'"{clash.right}" ({clash.right_source})')
    page.line_of(clash.explanation, grey=True)
    page.ln(2)


def _section(page: "_Page", section: Section) -> None:
    page.line_of(section.title, size=12, bold=True)
    rows = [(f"{row.key}\n{row.value}", f"{row.content} ({row.source})", row.confidence) for row in section.rows]
    page.table_of((("Key and value", "Sentence", "Conf."), *rows), widths=(4, 8, 1))


class _Page(FPDF):
    """An A4 document with a page number at the foot."""

    def __init__(self) -> None:
        super().__init__(format="A4")
        self.set_auto_page_break(auto=True, margin=18)
        self.set_margin(18)
        self.set_font("Helvetica", size=10)

    def footer(self) -> None:
        """The page number."""
        self.set_y(-14)
        self.set_font("Helvetica", size=8)
        self.cell(0, 6, f"{self.page_no()}", align="C")

    def title_of(self, text: str) -> None:
        """A heading."""
        self.ln(4)
        self.line_of(text, size=14, bold=True)

    def line_of(self, text: str, *, size: float = 10, bold: bool = False, grey: bool = False) -> None:
        """A paragraph over the full width."""
        self.set_font("Helvetica", style="B" if bold else "", size=size)
        self.set_text_color(*((90, 100, 114) if grey else (0, 0, 0)))
        self.multi_cell(0, _LINE * size / 10, latin(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_text_color(0, 0, 0)

    def table_of(self, rows: Sequence[Sequence[str]], *, widths: tuple[int, ...]) -> None:
        """A table whose first row is its head; the head is repeated on every page."""
        self.set_font("Helvetica", size=9)
        options: dict[str, Any] = {
            "col_widths": widths,
            "text_align": "LEFT",
            "line_height": _LINE,
            "borders_layout": "HORIZONTAL_LINES",
            "headings_style": FontFace(emphasis="BOLD"),
        }
        with self.table(**options) as table:
            for cells in rows:
                row = table.row()
                for cell in cells:
                    row.cell(latin(cell if len(cell) <= _MAX_CELL else f"{cell[:_MAX_CELL]} ..."))
        self.ln(2)


def latin(text: str) -> str:
    """The text in Latin-1: signs and letters that it lacks become their nearest form, and "?" where there is none."""
    replaced = "".join(_SIGNS.get(char, char) for char in text)
    kept: list[str] = []
    for char in replaced:
        if char == "\n" or (char.isprintable() and ord(char) < 256):  # noqa: PLR2004  # Latin-1
            kept.append(char)
            continue
        base = unicodedata.normalize("NFKD", char).encode("latin-1", errors="ignore").decode("latin-1")
        kept.append(base if base.strip() else (" " if char.isspace() else "?"))
    return _breakable("".join(kept))


def _breakable(text: str) -> str:
    words = text.split(" ")
    return " ".join(
        word
        if len(word) <= _LONGEST
        else " ".join(word[start : start + _LONGEST] for start in range(0, len(word), _LONGEST))
        for word in words
    )
