"""Render a report as a file of a format."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from agora.reports.model import Format, Rendered, Report
from agora.reports.pdf import render_pdf

TEMPLATES = Path(__file__).parent / "templates"
MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|])")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = escape_markdown
    environment.filters["percent"] = lambda ratio: f"{ratio:.0%}"
    return environment


def escape_markdown(text: str) -> str:
    """Text of a user inside Markdown: one line, and no sign of it means anything."""
    return MARKDOWN_SIGNS.sub(r"\\\1", " ".join(str(text).split()))


def _template(name: str) -> Callable[[Report], bytes]:
    def rendered(report: Report) -> bytes:
        return _environment().get_template(name).render(report=report).encode()

    return rendered


def _json(report: Report) -> bytes:
    return report.model_dump_json(indent=2).encode()


FORMATS: Mapping[Format, tuple[str, str, Callable[[Report], bytes]]] = {
    "markdown": ("md", "text/markdown", _template("report.md")),
    "html": ("html", "text/html", _template("report.html")),
    "json": ("json", "application/json", _json),
    "pdf": ("pdf", "application/pdf", render_pdf),
}
"""Extension, media type and renderer of each format."""


def render(report: Report, kind: Format) -> Rendered:
    """The report as a file."""
    extension, media_type, make = FORMATS[kind]
    return Rendered(name=f"{file_name(report.name)}.{extension}", media_type=media_type, data=make(report))


def file_name(name: str) -> str:
    """A project's name as the stem of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "report"
