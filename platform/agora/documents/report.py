"""The report of a bootstrap: what was found in a document, as Markdown, HTML, JSON or PDF."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, get_args

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from agora.documents.report_pages import markdown, standalone_html
from agora.documents.report_view import View
from agora.language.ports import Candidate, Contradiction
from agora.projects.scoring import Scores

Format = Literal["markdown", "html", "json", "pdf"]
FORMATS: tuple[str, ...] = get_args(Format)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that a report shows. ``titles`` maps each category to its title, in the order to be shown."""

    project: str
    document: str
    made_at: datetime
    analyst: str
    specifications: tuple[Candidate, ...]
    contradictions: tuple[Contradiction, ...]
    scores: Scores
    titles: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A rendered report, ready to be stored as a file."""

    name: str
    media_type: str
    data: bytes


REPORT: TypeAdapter[Report] = TypeAdapter(Report)


def render(report: Report, format: Format) -> Rendered:  # the word everyone uses
    """The report in a format. Raises ValueError for an unknown one."""
    match format:
        case "markdown":
            return Rendered(name="report.md", media_type="text/markdown", data=markdown(_view(report)).encode())
        case "html":
            data = standalone_html(_view(report)).encode()
            return Rendered(name="report.html", media_type="text/html", data=data)
        case "json":
            return Rendered(name="report.json", media_type="application/json", data=REPORT.dump_json(report, indent=2))
        case "pdf":
            from agora.documents.report_pdf import pdf  # noqa: PLC0415  # fpdf2 is slow to import

            data = pdf(_view(report), report.made_at)
            return Rendered(name="report.pdf", media_type="application/pdf", data=data)
    raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")


def _view(report: Report) -> View:
    return View.of(
        project=report.project,
        document=report.document,
        made_at=report.made_at,
        analyst=report.analyst,
        specifications=report.specifications,
        contradictions=report.contradictions,
        scores=report.scores,
        titles=report.titles,
    )
