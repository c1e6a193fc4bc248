"""Does a sentence demand something, and how plainly does it say so?"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from agora.language.embedded.reading import Reader, Sentence
from agora.language.embedded.tokens import Match, tokenise
from agora.language.lexicon import Cue

THRESHOLD = 2.5
"""The score from which a sentence counts as a demand. All weights below are in the same measure."""

MINIMUM_WORDS = 3
_STORY = 4.0
_CONFIDENCE = {"explicit": 1.0, "strong": 0.85, "inferred": 0.65, "weak": 0.45}
_BE = frozenset({"be", "is", "are", "been", "being", "was", "were", "not", "get", "gets", "and", "or"})
_DETERMINERS = frozenset({"a", "an", "the", "all", "any", "every", "each", "of", "with", "by", "for", "in", "on", "no"})
_SOFT = frozenset({"past", "present_state", "opinion", "errand"})
"""Signs of background that say little once "shall" or "must" stands in the sentence."""
_MARKED_PAST = re.compile(r"\b(?:19|20)\d\d\b")
_CLOSING = re.compile(r"^[A-Z][\w'’.-]*(?:[\s,]+[A-Z][\w'’.-]*){0,3}[\s,]*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """How much a sentence demands: score against THRESHOLD, confidence 0 to 1, and the words that show it."""

    score: float
    confidence: float
    level: str
    phrase: str
    reasons: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether it counts as a demand."""
        return self.score >= THRESHOLD


class DemandJudge:
    """Weighs cues, context and form of a sentence."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def judge(self, sentence: Sentence, *, evidence: float, neighbours: float) -> Demand:
        """Weigh one sentence.

        ``evidence`` is how strongly its words speak for a category; ``neighbours`` the share of explicit demands
        among the sentences under the same heading, 0 to 1.
        """
        best, level, phrase = self._positive(sentence)
        if level == "inferred":
            form, shown = self._form(sentence)
            best, phrase = best + form, phrase or shown
        background, against = self._background(sentence, level)
        context, reasons = self._context(sentence, level=level, evidence=evidence, neighbours=neighbours)
        score = best + background + context
        label = sentence.text.endswith(":") and level != "explicit"
        if len(sentence.tokens) < MINIMUM_WORDS or label or _CLOSING.match(sentence.text):
            score = 0.0
        confidence = _confidence(level, background=background, quantity=bool(sentence.quantities))
        said = (f'"{phrase}" ({level})',) if phrase else ()
        return Demand(
            score=score, confidence=confidence, level=level, phrase=phrase, reasons=said + tuple(reasons) + against
        )

    def explicit(self, sentence: Sentence) -> bool:
        """Whether a word of obligation stands in it."""
        return any(match.payload.level == "explicit" for match in sentence.cues)

    def _positive(self, sentence: Sentence) -> tuple[float, str, str]:
        if _is_story(sentence.words):
            return _STORY, "explicit", "as a ... I"
        found = [match for match in sentence.cues if match.payload.level != "background"]
        if not found:
            return 0.0, "inferred", ""
        top = max(found, key=lambda match: match.payload.weight)
        names = {match.payload.name: match.payload.weight for match in found}
        rest = sum(weight for name, weight in names.items() if name != top.payload.name)
        return top.payload.weight + min(0.35 * rest, 1.5), top.payload.level, _phrase(sentence, top)

    def _form(self, sentence: Sentence) -> tuple[float, str]:
        """What its form says of a sentence without a modal verb: "Send a reminder", "The shop gets a ticket"."""
        words = sentence.words
        weight, verb = _mood(words, self._reader.verbs)
        if not verb:
            return 0.0, ""
        if sentence.layout == "item" or self._place(sentence, goal=False) > 0:
            return weight + 0.6, verb
        return weight / 3, verb

    def _background(self, sentence: Sentence, level: str) -> tuple[float, tuple[str, ...]]:
        weights: dict[str, float] = defaultdict(float)
        for match in sentence.cues:
            if match.payload.level == "background":
                weights[match.payload.name] = match.payload.weight
        if _is_story(sentence.words):
            weights.pop("narrator", None)
        if level == "explicit":
            weights.update({name: weight / 2 for name, weight in weights.items() if name in _SOFT})
        if level not in {"explicit", "strong"}:
            if _simple_past(sentence):
                weights.setdefault("past", -1.2)
            if _MARKED_PAST.search(sentence.text):
                weights["year"] = -0.6
        if sentence.text.rstrip().endswith("?"):
            weights["question"] = -2.0
        against = tuple(f"{name.replace('_', ' ')} speaks against it" for name in sorted(weights))
        return sum(weights.values()), against

    def _context(
        self, sentence: Sentence, *, level: str, evidence: float, neighbours: float
    ) -> tuple[float, list[str]]:
        reasons: list[str] = []
        score = min(evidence / 4, 1.6)
        if sentence.quantities:
            limited = any(quantity.comparator != "=" for quantity in sentence.quantities)
            score += 1.2 if limited else 0.6
            reasons.append(f"quantity {sentence.quantities[0].text}")
        if sentence.layout != "paragraph":
            score += 1.2 if sentence.layout == "row" else 0.4
        place = self._place(sentence, goal=self._is_goal(sentence))
        score += place
        if place:
            reasons.append(f'under "{sentence.heading}"')
        if neighbours >= 0.3 and level != "explicit":  # noqa: PLR2004  # a third of a section sets its tone
            score += min(1.6, 2.0 * neighbours)
            reasons.append("among other demands")
        return score, reasons

    def _place(self, sentence: Sentence, *, goal: bool) -> float:
        if not sentence.heading:
            return 0.0
        innermost = tuple(tokenise(sentence.heading.rsplit(" / ", 1)[-1]))
        whole = tuple(tokenise(sentence.heading))
        if self._reader.has("closed_section", innermost):
            return -3.5
        if self._reader.has("soft_section", innermost):
            return 0.0 if goal else -1.5
        if self._reader.has("open_section", whole) or self._reader.heading(sentence.heading):
            return 0.8
        return -1.0 if self._reader.has("soft_section", whole) and not goal else 0.0

    @staticmethod
    def _is_goal(sentence: Sentence) -> bool:
        return any(match.payload.name == "goal" for match in sentence.cues)


def _is_story(words: Sequence[str]) -> bool:
    """A user story: "As a clerk I can ..."."""
    return len(words) > 3 and words[0] == "as" and words[1] in {"a", "an", "the"} and "i" in words  # noqa: PLR2004


def _mood(words: Sequence[str], verbs: frozenset[str]) -> tuple[float, str]:
    """The weight of an imperative, of a dropped subject, or of a statement in the present; and the verb."""
    first = words[0] if words else ""
    if first in verbs:
        return 1.5, first
    if _base(first) in verbs and first.endswith("s") and len(words) > 1 and words[1] not in _BE | {"shall", "must"}:
        return 1.2, first
    for position, word in enumerate(words[1:10], 1):
        before = words[position - 1]
        if (
            word in {"is", "are"}
            and position + 1 < len(words)
            and words[position + 1].endswith(("ed", "en", "wn", "pt", "nt"))
        ):
            return 1.0, f"{word} {words[position + 1]}"
        present = word.endswith("s") and _base(word) in verbs
        plural = word in verbs and before.endswith("s") and not before.endswith("ss")
        if (present or plural) and before not in _DETERMINERS:
            return 1.1, word
    return 0.0, ""


def _base(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("shes", "ches", "sses", "xes", "oes")):
        return word[:-2]
    return word.removesuffix("s")


def _phrase(sentence: Sentence, match: Match[Cue]) -> str:
    return " ".join(token.word for token in sentence.tokens[match.start : match.end])


def _simple_past(sentence: Sentence) -> bool:
    """A word in -ed that no form of "be" and no determiner introduces: "the trustees approved"."""
    words = sentence.words
    return any(
        word.endswith("ed") and len(word) > 4 and words[position - 1] not in _BE | _DETERMINERS  # noqa: PLR2004
        for position, word in enumerate(words)
        if position > 0 and (position + 1 == len(words) or words[position + 1] != "by")
    )


def _confidence(level: str, *, background: float, quantity: bool) -> float:
    value = _CONFIDENCE[level]
    if background <= -1.5:  # noqa: PLR2004  # something in the sentence speaks against it
        value -= 0.15
    if level == "inferred" and quantity:
        value += 0.05
    return round(max(0.4, value), 2)
