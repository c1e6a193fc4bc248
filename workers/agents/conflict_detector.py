"""Find what cannot hold together."""

from typing import Self

from pydantic import BaseModel, Field, model_validator

from agora.agents import Agent, StepContext
from agora.language.ports import Candidate, Contradiction
from agora.projects import service as projects
from workers.agents import shared
from workers.agents.shared import Checked, Found

MAX_CANDIDATES = 5_000


class DetectInput(BaseModel):
    """A project, or candidates that were found but not saved."""

    project_id: str | None = Field(None, pattern=r"^prj_[0-9a-z]{26}$")
    specifications: list[Candidate] | None = Field(None, max_length=MAX_CANDIDATES)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.project_id is None) == (self.specifications is None):
            raise ValueError("give either project_id or specifications")
        return self


class DetectOutput(BaseModel):
    """The conflicts, worst first."""

    compared: int
    conflicts: list[Contradiction]


agent = Agent("conflict_detector", description="Finds contradictions between specifications.")
detect = agent.action("detect", input=DetectInput, output=DetectOutput)


@detect.step
def collect(ctx: StepContext[DetectInput]) -> Found:
    """Collect what is to be compared."""
    if ctx.input.specifications is not None:
        return Found(specifications=ctx.input.specifications)
    return Found(specifications=projects.candidates_of(ctx.input.project_id or "", team_id=ctx.team_id))


@detect.step
def compare(ctx: StepContext[DetectInput]) -> Checked:
    """Compare each with each."""
    return shared.check(ctx, ctx.result(collect).specifications)


@detect.step
def summarise(ctx: StepContext[DetectInput]) -> DetectOutput:
    """Put the result together."""
    compared = len(ctx.result(collect).specifications)
    return DetectOutput(compared=compared, conflicts=ctx.result(compare).conflicts)
