"""Which category a sentence belongs to: weighted terms, headings and the dimension of its quantities."""

from dataclasses import dataclass

from agora.language.embedded.reading import Reader, Sentence
from agora.language.lexicon import Measure

_HEADING = 0.9
"""How much a word in a heading counts beside one in the sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Class:
    """A category with its score, how far it leads, and the words that spoke for it."""

    category: str
    score: float
    lead: float
    words: tuple[str, ...]


class Classifier:
    """Scores a sentence against every category of the lexicon."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._names = [category.name for category in reader.lexicon.categories]

    def classify(self, sentence: Sentence) -> Class:
        """The best category; ties go to the first in the lexicon's order."""
        scores = self.scores(sentence)
        order = sorted(self._names, key=lambda name: -scores[name])
        best = order[0]
        second = scores[order[1]] if len(order) > 1 else 0.0
        words = tuple(
            dict.fromkeys(
                " ".join(sentence.words[match.start : match.end])
                for match in sentence.terms
                if match.payload.category == best
            )
        )
        return Class(category=best, score=scores[best], lead=scores[best] - second, words=words)

    def evidence(self, sentence: Sentence) -> float:
        """The best score of the sentence's own words, without its heading and without the default's head start."""
        own = self._own(sentence)
        return max(own.values(), default=0.0)

    def scores(self, sentence: Sentence) -> dict[str, float]:
        """Every category's score."""
        scores = {category.name: category.prior for category in self._reader.lexicon.categories}
        for source in (self._own(sentence), self._heading(sentence)):
            for name, weight in source.items():
                if name in scores:
                    scores[name] += weight
        return scores

    def _own(self, sentence: Sentence) -> dict[str, float]:
        scores: dict[str, float] = {}
        seen: set[tuple[str, str]] = set()
        for match in sentence.terms:
            word = " ".join(sentence.words[match.start : match.end])
            if (match.payload.category, word) in seen:
                continue
            seen.add((match.payload.category, word))
            scores[match.payload.category] = scores.get(match.payload.category, 0.0) + match.payload.weight
        lexicon = self._reader.lexicon
        if sentence.technologies:
            name = lexicon.technology_category
            scores[name] = scores.get(name, 0.0) + lexicon.technology_weight
        for category in lexicon.categories:
            weight = max((m.weight for m in category.measures if self._measured(m, sentence)), default=0.0)
            if weight:
                scores[category.name] = scores.get(category.name, 0.0) + weight
        return scores

    def _heading(self, sentence: Sentence) -> dict[str, float]:
        return {name: _HEADING * weight for name, weight in self._reader.heading(sentence.heading).items()}

    def _measured(self, measure: Measure, sentence: Sentence) -> bool:
        return any(
            quantity.dimension == measure.dimension
            and measure.low <= quantity.base < measure.high
            and (not measure.upper or quantity.comparator in {"<", "<="})
            for quantity in sentence.quantities
        ) and (not measure.words or self._reader.has(measure.words, sentence.tokens))
