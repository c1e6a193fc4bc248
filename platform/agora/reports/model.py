"""What a report says, whatever its format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from agora.language.ports import Candidate, Contradiction
from agora.projects.scoring import Scores

Format = Literal["markdown", "html", "json", "pdf"]


class Section(BaseModel):
    """One category: its target and what the project holds of it."""

    category: str
    title: str
    target: float
    specifications: list[Candidate]


class Report(BaseModel):
    """A project at one moment."""

    name: str
    document: str
    analyst: str
    scores: Scores
    sections: list[Section]
    conflicts: list[Contradiction]

    @property
    def total(self) -> int:
        """How many specifications there are."""
        return sum(len(section.specifications) for section in self.sections)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A report as a file."""

    name: str
    media_type: str
    data: bytes


def build(
    *,
    name: str,
    document: str,
    candidates: Sequence[Candidate],
    conflicts: Sequence[Contradiction],
    scores: Scores,
    categories: Mapping[str, tuple[str, float]],
) -> Report:
    """Sort candidates into sections, in the order of ``categories`` (name to title and target)."""
    sections = [
        Section(
            category=category,
            title=title,
            target=target,
            specifications=[one for one in candidates if one.category == category],
        )
        for category, (title, target) in categories.items()
    ]
    analyst = candidates[0].analyst if candidates else "embedded"
    return Report(
        name=name, document=document, analyst=analyst, scores=scores, sections=sections, conflicts=list(conflicts)
    )
