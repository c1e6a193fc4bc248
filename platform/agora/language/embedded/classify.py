"""Which category a sentence belongs to: weighted terms, headings and the dimension of its quantities."""

from dataclasses import dataclass

from agora.language.embedded.reading import Reader, Sentence

DEFAULT = "requirements"
"""What a demand is when nothing says otherwise: a function."""
_PRIOR = 1.8
_HEADING = 0.9
_TECHNOLOGY = 3.0
_SUBMINUTE = 120.0
_MANY = 20.0


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
        scores = dict.fromkeys(self._names, 0.0)
        for source in (self._own(sentence), self._heading(sentence)):
            for name, weight in source.items():
                if name in scores:
                    scores[name] += weight
        if DEFAULT in scores:
            scores[DEFAULT] += _PRIOR
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
        if sentence.technologies:
            scores["tech_stack"] = scores.get("tech_stack", 0.0) + _TECHNOLOGY
        for name, weight in self._dimensions(sentence).items():
            scores[name] = scores.get(name, 0.0) + weight
        return scores

    def _heading(self, sentence: Sentence) -> dict[str, float]:
        return {name: _HEADING * weight for name, weight in self._reader.heading(sentence.heading).items()}

    @staticmethod
    def _dimensions(sentence: Sentence) -> dict[str, float]:
        scores: dict[str, float] = {}
        for quantity in sentence.quantities:
            if quantity.dimension == "time" and quantity.base < _SUBMINUTE and quantity.comparator in {"<", "<="}:
                scores["performance"] = 2.0
            elif quantity.dimension in {"people", "load", "things"} and quantity.number >= _MANY:
                scores["scalability"] = 1.5
            elif quantity.dimension == "data" and quantity.base >= 1e9:  # noqa: PLR2004  # a gigabyte
                scores["scalability"] = 1.5
        return scores
