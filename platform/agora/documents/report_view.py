"""A report's content as the words and rows that every format shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agora.language.ports import Candidate, Contradiction, Span
from agora.projects.scoring import Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One specification."""

    key: str
    value: str
    content: str
    confidence: str
    source: str
    reasoning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A category with its specifications."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clash:
    """One contradiction: both sentences, where they stand, and why they clash."""

    severity: str
    kind: str
    subject: str
    left: str
    left_source: str
    right: str
    right_source: str
    explanation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lack:
    """A category below its target."""

    title: str
    share: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What is shown, as text."""

    project: str
    document: str
    made_at: str
    analyst: str
    figures: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    clashes: tuple[Clash, ...]
    lacks: tuple[Lack, ...]

    @classmethod
    def of(
        cls,
        *,
        project: str,
        document: str,
        made_at: datetime,
        analyst: str,
        specifications: Sequence[Candidate],
        contradictions: Sequence[Contradiction],
        scores: Scores,
        titles: Mapping[str, str],
    ) -> "View":
        """The view of a report's parts. Categories without specifications have no section; gaps name them."""
        names = dict.fromkeys([*titles, *(each.category for each in specifications)])
        grouped = {name: tuple(_row(each) for each in specifications if each.category == name) for name in names}
        return cls(
            project=_line(project),
            document=_line(document),
            made_at=made_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            analyst=_line(analyst),
            figures=(
                ("Specifications", str(len(specifications))),
                ("Contradictions", str(len(contradictions))),
                ("Maturity", f"{scores.maturity} of 100"),
                ("Coverage", percent(scores.coverage)),
                ("Mean confidence", f"{scores.mean_confidence:.2f}"),
                ("Readiness", f"{scores.readiness:.2f} (0.70 is needed)"),
            ),
            sections=tuple(Section(title=titles.get(name, name), rows=rows) for name, rows in grouped.items() if rows),
            clashes=tuple(_clash(each) for each in contradictions),
            lacks=tuple(
                Lack(
                    title=titles.get(gap.category, gap.category),
                    share=percent(gap.share),
                    detail=f"{gap.reached:g} of {gap.target:g}, {gap.specifications} found",
                )
                for gap in scores.gaps
            ),
        )


def percent(ratio: float) -> str:
    """A ratio for people."""
    return f"{round(100 * ratio)} %"


def _row(each: Candidate) -> Row:
    return Row(
        key=each.key,
        value=_line(each.value),
        content=_line(each.content),
        confidence=f"{each.confidence:.2f}",
        source=_source(each.span),
        reasoning=_line(each.reasoning),
    )


def _clash(each: Contradiction) -> Clash:
    return Clash(
        severity=each.severity,
        kind=each.kind,
        subject=each.subject,
        left=_line(each.left.content),
        left_source=_source(each.left.span),
        right=_line(each.right.content),
        right_source=_source(each.right.span),
        explanation=_line(each.explanation),
    )


def _source(span: Span | None) -> str:
    if span is None:
        return "no document"
    place = f"characters {span.start}-{span.end}"
    return f"page {span.page}, {place}" if span.page else place


def _line(text: str) -> str:
    return " ".join(text.split())
