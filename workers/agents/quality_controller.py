"""Judge how complete a project is."""

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.projects import service as projects
from agora.projects.scoring import READY, Scores
from workers.agents import shared
from workers.agents.conflict_detector import DetectInput
from workers.agents.shared import Found


class CoverageInput(DetectInput):
    """A project, or candidates that were found but not saved."""


class CoverageOutput(BaseModel):
    """How complete it is, and what is missing, worst first."""

    specifications: int
    scores: Scores
    missing: list[str]
    ready: bool


agent = Agent("quality_controller", description="Judges coverage, maturity and readiness.")
check_coverage = agent.action("check_coverage", input=CoverageInput, output=CoverageOutput)


@check_coverage.step
def collect(ctx: StepContext[CoverageInput]) -> Found:
    """Collect the specifications."""
    if ctx.input.specifications is not None:
        return Found(specifications=ctx.input.specifications)
    return Found(specifications=projects.candidates_of(ctx.input.project_id or "", team_id=ctx.team_id))


@check_coverage.step
def judge(ctx: StepContext[CoverageInput]) -> CoverageOutput:
    """Score them against the targets."""
    found = ctx.result(collect).specifications
    scores = shared.scores_of(ctx, found)
    return CoverageOutput(
        specifications=len(found),
        scores=scores,
        missing=[gap.category for gap in scores.gaps if gap.specifications == 0],
        ready=scores.readiness >= READY,
    )
