"""What the analyst sees in one sentence: its words, quantities, cues, terms and technologies, found once."""

from dataclasses import dataclass
from functools import cached_property

from agora.language.embedded.quantities import Quantity, QuantityReader
from agora.language.embedded.tokens import Match, TermIndex, Token, phrases, tokenise
from agora.language.lexicon import Category, Cue, Lexicon, Technology, TechnologyGroup

_MODAL_CUES = frozenset({"obligation", "recommendation", "future", "need", "capability", "ability", "user_story"})
_NEAR = 3
"""A negation at most so many words behind a modal verb belongs to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighted:
    """A term's category and weight."""

    category: str
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """One sentence, read. Token positions in matches are positions in ``tokens``.

    ``negations`` are positions of words that deny; ``denied`` says that they deny the demand itself.
    """

    text: str
    heading: str
    layout: str
    tokens: tuple[Token, ...]
    quantities: tuple[Quantity, ...]
    cues: tuple[Match[Cue], ...]
    terms: tuple[Match[Weighted], ...]
    technologies: tuple[Match[tuple[TechnologyGroup, Technology]], ...]
    negations: tuple[int, ...]
    denied: bool

    @property
    def words(self) -> tuple[str, ...]:
        """The words in lower case."""
        return tuple(token.word for token in self.tokens)


class Reader:
    """Reads sentences with the indexes of a lexicon, which it builds once."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._quantities = QuantityReader(lexicon)
        self._cues: TermIndex[Cue] = TermIndex((phrase, cue) for cue in lexicon.cues for phrase in cue.phrases)
        self._terms: TermIndex[Weighted] = TermIndex(
            (term.pattern, Weighted(category=category.name, weight=term.weight))
            for category in lexicon.categories
            for term in category.terms
        )
        self._headings: TermIndex[Weighted] = TermIndex(
            (term.pattern, Weighted(category=category.name, weight=term.weight))
            for category in lexicon.categories
            for term in category.headings
        )
        self._technologies: TermIndex[tuple[TechnologyGroup, Technology]] = TermIndex(
            (word, (group, technology))
            for group in lexicon.groups
            for technology in group.members
            for word in technology.words
        )
        self._negations = phrases(lexicon.words["negations"])
        self._bounds = phrases(phrase for sign in lexicon.comparators.values() for phrase in sign)
        self.words = {name: phrases(patterns) for name, patterns in lexicon.words.items()}
        self.stop = frozenset(lexicon.words["stop"])
        self.generic = frozenset(lexicon.words["generic"])
        self.verbs = frozenset(lexicon.words["verbs"])
        self.priorities = frozenset(lexicon.words["priorities"])
        self.aspects = {category.name: _aspects(category) for category in lexicon.categories}
        self._heading_memo: dict[str, dict[str, float]] = {}

    def read(self, text: str, *, heading: str = "", layout: str = "paragraph") -> Sentence:
        """One sentence with everything that is found in it."""
        tokens = tuple(tokenise(text))
        cues = tuple(self._cues.find(tokens))
        negations = self._denials(tokens)
        return Sentence(
            text=text,
            heading=heading,
            layout=layout,
            tokens=tokens,
            quantities=tuple(self._quantities.read(tokens)),
            cues=cues,
            terms=tuple(self._terms.find(tokens)),
            technologies=tuple(self._technologies.find(tokens)),
            negations=negations,
            denied=_denied(tokens, cues, negations),
        )

    def _denials(self, tokens: tuple[Token, ...]) -> tuple[int, ...]:
        """Where something is denied. "No more than" and "not exceed" bound a number and deny nothing."""
        found = self._negations.find(tokens)
        if not found:
            return ()
        bounds = [range(match.start, match.end) for match in self._bounds.find(tokens)]
        return tuple(match.start for match in found if not any(match.start in bound for bound in bounds))

    def has(self, name: str, tokens: tuple[Token, ...]) -> bool:
        """Whether a phrase of the lexicon's list ``name`` is there."""
        return self.words[name].any(tokens)

    def heading(self, heading: str) -> dict[str, float]:
        """How much a path of headings speaks for each category; the innermost heading counts most."""
        if heading not in self._heading_memo:
            if len(self._heading_memo) > 10_000:  # noqa: PLR2004  # a bound, never reached by a real document
                self._heading_memo.clear()
            scores: dict[str, float] = {}
            for depth, part in enumerate(reversed(heading.split(" / "))):
                for match in self._headings.find(tokenise(part)):
                    category, weight = match.payload.category, match.payload.weight / (1 + depth)
                    scores[category] = max(scores.get(category, 0.0), weight)
            self._heading_memo[heading] = scores
        return self._heading_memo[heading]

    @cached_property
    def title_words(self) -> frozenset[str]:
        """Words that never make a good key: stop words, generic nouns and months."""
        return self.stop | self.generic | frozenset(self.lexicon.words["months"])


def _denied(tokens: tuple[Token, ...], cues: tuple[Match[Cue], ...], negations: tuple[int, ...]) -> bool:
    """Whether the demand itself is denied, not some part of it ("work without plug-ins")."""
    if any(match.payload.name == "prohibition" for match in cues):
        return True
    ends = [match.end for match in cues if match.payload.name in _MODAL_CUES]
    for position in negations:
        near = any(end <= position < end + _NEAR or position == end - 1 for end in ends)
        if position == 0 or (near and tokens[position].word not in {"without", "avoid"}):
            return True
    return False


def _aspects(category: Category) -> list[tuple[TermIndex[str], int]]:
    return [(phrases(aspect.terms), position) for position, aspect in enumerate(category.aspects)]
