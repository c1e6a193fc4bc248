"""Turn a document into structured specifications."""

from pydantic import BaseModel

from agora.agents import Agent, StepContext
from agora.language.ports import Candidate, Contradiction
from workers.agents import shared
from workers.agents.shared import Checked, DocumentInput, Found, Read


class ExtractInput(DocumentInput):
    """A document to find specifications in."""


class ExtractOutput(BaseModel):
    """The specifications of a document, each with its source, and what contradicts what."""

    title: str
    language: str
    passages: int
    specifications: list[Candidate]
    conflicts: list[Contradiction]


agent = Agent("context_analyzer", description="Turns documents into structured specifications.")
extract = agent.action("extract", input=ExtractInput, output=ExtractOutput)


@extract.step
def read_document(ctx: StepContext[ExtractInput]) -> Read:
    """Read the document."""
    return shared.read(ctx)


@extract.step
def find_candidates(ctx: StepContext[ExtractInput]) -> Found:
    """Find what it demands."""
    return shared.find(ctx, ctx.result(read_document).passages)


@extract.step
def check_candidates(ctx: StepContext[ExtractInput]) -> Checked:
    """Find what contradicts what."""
    return shared.check(ctx, ctx.result(find_candidates).specifications)


@extract.step
def summarise(ctx: StepContext[ExtractInput]) -> ExtractOutput:
    """Put the result together."""
    document = ctx.result(read_document)
    return ExtractOutput(
        title=document.title,
        language=document.language,
        passages=len(document.passages),
        specifications=ctx.result(find_candidates).specifications,
        conflicts=ctx.result(check_candidates).conflicts,
    )
