"""What several agents do alike: read a document, look at candidates, score them."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field, model_validator

from agora.agents import Permanent, StepContext
from agora.documents.errors import DocumentError
from agora.documents.isolated import read_isolated
from agora.documents.model import Document
from agora.documents.read import read_text
from agora.documents.report import Report
from agora.language.ports import Analyst, Candidate, Contradiction, Passage
from agora.projects.scoring import Scores, score
from domains.loader import Domain

MAX_TEXT = 1_000_000
QUICK = 20_000
"""Characters of a typed text that is read here: marks that never close take half a second for so many."""


class DocumentInput(BaseModel):
    """A document, as text or as the id of an uploaded file (text, Markdown, PDF, DOCX)."""

    text: str | None = Field(None, max_length=MAX_TEXT)
    file_id: str | None = Field(None, pattern=r"^fil_[0-9a-z]{26}$")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.file_id is None):
            raise ValueError("give either text or file_id")
        return self


class Read(BaseModel):
    """A document that was read: what later steps need of it, without repeating the whole text."""

    title: str
    media_type: str
    language: str
    pages: int
    characters: int
    passages: list[Passage]


class Found(BaseModel):
    """What was found in a document."""

    specifications: list[Candidate]


class Checked(BaseModel):
    """What cannot hold together."""

    conflicts: list[Contradiction]


def read(ctx: StepContext[DocumentInput]) -> Read:
    """Read the input's document. Raises Permanent with the document's fault as code."""
    ctx.progress(0.1, "reading the document")
    try:
        document = _document(ctx)
    except DocumentError as error:
        raise Permanent(str(error), code=error.code) from error
    ctx.progress(0.9, f"{len(document.passages)} passages, {len(document.text):,} characters")
    return Read(
        title=document.title,
        media_type=document.media_type,
        language=document.language,
        pages=document.pages,
        characters=len(document.text),
        passages=list(document.passages),
    )


def _document(ctx: StepContext[DocumentInput]) -> Document:
    if ctx.input.file_id is None:
        text = ctx.input.text or ""
        return read_text(text) if len(text) <= QUICK else read_isolated(text.encode(), None, "text")
    name, media_type = ctx.files.name_of(ctx.input.file_id)
    return read_isolated(ctx.files.read(ctx.input.file_id), media_type, name)


def find(ctx: StepContext[DocumentInput], passages: Sequence[Passage]) -> Found:
    """Find specifications; keys stay unique because the analyst sees all passages at once."""
    ctx.progress(0.1, f"0 of {len(passages)} passages")
    ctx.check()
    found = ctx.port(Analyst).extract(passages)
    ctx.progress(1.0, f"{len(found)} specifications in {len(passages)} passages")
    return Found(specifications=found)


def check(ctx: StepContext[BaseModel], candidates: Sequence[Candidate]) -> Checked:
    """Find what contradicts what."""
    ctx.progress(0.1, f"comparing {len(candidates)} specifications")
    ctx.check()
    found = ctx.port(Analyst).contradictions(candidates)
    ctx.progress(1.0, f"{len(found)} contradictions")
    return Checked(conflicts=found)


def scores_of(ctx: StepContext[BaseModel], candidates: Sequence[Candidate]) -> Scores:
    """Coverage, maturity, readiness and gaps, against the targets of the base domain."""
    return score(ctx.port(Domain).targets, held(candidates))


def held(candidates: Sequence[Candidate]) -> Iterator[tuple[str, float]]:
    """Category and confidence of each candidate."""
    return ((one.category, one.confidence) for one in candidates)


def report_of(
    ctx: StepContext[BaseModel],
    *,
    name: str,
    document: str,
    candidates: Sequence[Candidate],
    conflicts: Sequence[Contradiction],
    made_at: datetime,
) -> Report:
    """The report of a project, with the base domain's categories.

    ``made_at`` must be the same on every try, so that a retried step stores no second file.
    """
    categories = ctx.port(Domain).lexicon.categories
    return Report(
        project=name,
        document=document,
        made_at=made_at,
        analyst=candidates[0].analyst if candidates else "embedded",
        specifications=tuple(candidates),
        contradictions=tuple(conflicts),
        scores=scores_of(ctx, candidates),
        titles={category.name: category.title for category in categories},
    )
