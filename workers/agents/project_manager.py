"""Make a project from a document: the main job."""

from datetime import timedelta

from pydantic import BaseModel, Field

from agora.agents import Agent, StepContext, TransactionContext
from agora.documents.report import Format
from agora.language.ports import Contradiction
from agora.projects.scoring import Scores
from agora.projects.service import Recorded, record_project
from workers.agents import export, shared
from workers.agents.export import ReportFile
from workers.agents.shared import Checked, DocumentInput, Found, Read

DEFAULT_FORMATS: tuple[Format, ...] = ("markdown", "html", "json", "pdf")


class BootstrapInput(DocumentInput):
    """A document to make a project from, the project's name (default: the document's title), and report formats."""

    name: str | None = Field(None, min_length=1, max_length=200)
    formats: list[Format] = Field(default_factory=lambda: list(DEFAULT_FORMATS), min_length=1, max_length=4)


class Reports(BaseModel):
    """The report in each format that was asked for."""

    files: list[ReportFile]


class BootstrapOutput(BaseModel):
    """The project that was made, how complete it is, what contradicts what, and its report."""

    project_id: str
    session_id: str
    name: str
    document: str
    analyst: str
    specifications: int
    by_category: dict[str, int]
    scores: Scores
    conflicts: list[Contradiction]
    reports: list[ReportFile]


agent = Agent("project_manager", description="Makes projects, and says how far they are.")
bootstrap = agent.action("bootstrap", input=BootstrapInput, output=BootstrapOutput)


@bootstrap.step(timeout=timedelta(minutes=5))
def read_document(ctx: StepContext[BootstrapInput]) -> Read:
    """Read the document: text, Markdown, PDF or DOCX, in passages with their places."""
    return shared.read(ctx)


@bootstrap.step(timeout=timedelta(minutes=5))
def extract_specifications(ctx: StepContext[BootstrapInput]) -> Found:
    """Find what it demands."""
    return shared.find(ctx, ctx.result(read_document).passages)


@bootstrap.step(timeout=timedelta(minutes=5))
def check_contradictions(ctx: StepContext[BootstrapInput]) -> Checked:
    """Find what contradicts what."""
    return shared.check(ctx, ctx.result(extract_specifications).specifications)


@bootstrap.step
def score_coverage(ctx: StepContext[BootstrapInput]) -> Scores:
    """Score coverage and maturity."""
    scores = shared.scores_of(ctx, ctx.result(extract_specifications).specifications)
    ctx.progress(1.0, f"coverage {scores.coverage:.0%}, maturity {scores.maturity}")
    return scores


@bootstrap.step(transactional=True)
def record(ctx: TransactionContext[BootstrapInput]) -> Recorded:
    """Record project, session, specifications and conflicts: they commit with this step's checkpoint, or not at all."""
    document = ctx.result(read_document)
    return record_project(
        ctx.session,
        team_id=ctx.team_id,
        origin=ctx.root_job_id,
        name=ctx.input.name or document.title,
        title=document.title,
        candidates=ctx.result(extract_specifications).specifications,
        contradictions=ctx.result(check_contradictions).conflicts,
        scores=ctx.result(score_coverage),
    )


@bootstrap.step(timeout=timedelta(minutes=5))
def render_reports(ctx: StepContext[BootstrapInput]) -> Reports:
    """Render the report in each format."""
    document = ctx.result(read_document)
    report = shared.report_of(
        ctx,
        name=ctx.input.name or document.title,
        document=document.title,
        candidates=ctx.result(extract_specifications).specifications,
        conflicts=ctx.result(check_contradictions).conflicts,
        made_at=ctx.result(record).recorded_at,
    )
    files = []
    formats = list(dict.fromkeys(ctx.input.formats))
    for number, kind in enumerate(formats):
        ctx.check()
        ctx.progress(number / len(formats), f"rendering {kind}")
        files.append(export.store(ctx, report, kind))
    return Reports(files=files)


@bootstrap.step
def summarise(ctx: StepContext[BootstrapInput]) -> BootstrapOutput:
    """Put the result together."""
    document, recorded = ctx.result(read_document), ctx.result(record)
    found = ctx.result(extract_specifications).specifications
    counts: dict[str, int] = {}
    for one in found:
        counts[one.category] = counts.get(one.category, 0) + 1
    return BootstrapOutput(
        project_id=recorded.project_id,
        session_id=recorded.session_id,
        name=ctx.input.name or document.title,
        document=document.title,
        analyst=found[0].analyst if found else "embedded",
        specifications=len(found),
        by_category=counts,
        scores=ctx.result(score_coverage),
        conflicts=ctx.result(check_contradictions).conflicts,
        reports=ctx.result(render_reports).files,
    )
