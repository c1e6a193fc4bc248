"""Render a project as a document."""

from pydantic import BaseModel, Field

from agora.agents import Agent, StepContext
from agora.documents.report import Format, Report
from agora.documents.report import render as render_report
from agora.projects import service as projects
from workers.agents import shared


class RenderInput(BaseModel):
    """Which project, and as what."""

    project_id: str = Field(pattern=r"^prj_[0-9a-z]{26}$")
    format: Format = "markdown"


class ReportFile(BaseModel):
    """A report that was stored as a file. ``size`` is bytes."""

    file_id: str
    format: Format
    name: str
    media_type: str
    size: int


agent = Agent("export", description="Renders projects as documents.")
render = agent.action("render", input=RenderInput, output=ReportFile)


@render.step
def collect(ctx: StepContext[RenderInput]) -> Report:
    """Collect what the report says."""
    project = projects.get_project(ctx.input.project_id, team_id=ctx.team_id)
    candidates = projects.candidates_of(project.id, team_id=ctx.team_id)
    conflicts = projects.conflicts_of(project.id, team_id=ctx.team_id)
    return shared.report_of(ctx, name=project.name, document=project.id, candidates=candidates, conflicts=conflicts,
        made_at=project.created_at,
    )  # fmt: skip


@render.step
def write(ctx: StepContext[RenderInput]) -> ReportFile:
    """Render it and store the file."""
    return store(ctx, ctx.result(collect), ctx.input.format)


def store(ctx: StepContext[BaseModel], report: Report, kind: Format) -> ReportFile:
    """Render a report and store it as a file of the team."""
    made = render_report(report, kind)
    file_id = ctx.files.create(made.name, made.media_type, made.data)
    return ReportFile(file_id=file_id, format=kind, name=made.name, media_type=made.media_type, size=len(made.data))
