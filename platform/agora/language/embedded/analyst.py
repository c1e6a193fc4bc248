"""The embedded analyst: deterministic, without a key, without a network."""

from collections import defaultdict
from collections.abc import Sequence

from agora.language.embedded.classify import Class, Classifier
from agora.language.embedded.conflicts import ConflictFinder
from agora.language.embedded.demand import Demand, DemandJudge
from agora.language.embedded.naming import Namer
from agora.language.embedded.reading import Reader, Sentence
from agora.language.embedded.sentences import sentences
from agora.language.lexicon import Lexicon
from agora.language.ports import Candidate, Contradiction, Passage, Span

MAX_SENTENCE = 2000
"""Longer ones are no sentences (a dump, a base64 blob) and are left out."""


class EmbeddedAnalyst:
    """Implements ``agora.language.ports.Analyst`` with a lexicon. Safe to share between threads."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._reader = Reader(lexicon)
        self._classifier = Classifier(self._reader)
        self._judge = DemandJudge(self._reader)
        self._namer = Namer(self._reader)
        self._conflicts = ConflictFinder(self._reader, self._namer)

    def extract(self, passages: Sequence[Passage]) -> list[Candidate]:
        """The specifications in these passages, in reading order, with unique keys; repeated sentences once."""
        read = self._read(passages)
        evidence = [self._classifier.evidence(sentence) for _, sentence in read]
        neighbours = self._neighbours([sentence for _, sentence in read], evidence)
        found: list[Candidate] = []
        keys: dict[str, int] = {}
        contents: set[str] = set()
        for (span, sentence), weight in zip(read, evidence, strict=True):
            demand = self._judge.judge(sentence, evidence=weight, neighbours=neighbours[sentence.heading])
            content = " ".join(sentence.text.lower().split())
            if demand.holds and content not in contents:
                contents.add(content)
                found.append(self._candidate(sentence, span, demand, keys))
        return found

    def contradictions(self, candidates: Sequence[Candidate]) -> list[Contradiction]:
        """What cannot hold together among these, gravest first; each pair once."""
        return self._conflicts.find(candidates)

    def _read(self, passages: Sequence[Passage]) -> list[tuple[Span, Sentence]]:
        read: list[tuple[Span, Sentence]] = []
        for passage in passages:
            for start, end in sentences(passage, priorities=self._reader.priorities):
                if end - start > MAX_SENTENCE:
                    continue
                sentence = self._reader.read(passage.text[start:end], heading=passage.heading, layout=passage.layout)
                read.append((Span(start=passage.start + start, end=passage.start + end, page=passage.page), sentence))
        return read

    def _neighbours(self, read: Sequence[Sentence], evidence: Sequence[float]) -> dict[str, float]:
        """The share of sentences under each heading that demand something by themselves: they set a section's tone."""
        holding: dict[str, int] = defaultdict(int)
        total: dict[str, int] = defaultdict(int)
        for sentence, weight in zip(read, evidence, strict=True):
            total[sentence.heading] += 1
            holding[sentence.heading] += self._judge.judge(sentence, evidence=weight, neighbours=0.0).holds
        return {heading: holding[heading] / total[heading] for heading in total}

    def _candidate(self, sentence: Sentence, span: Span, demand: Demand, keys: dict[str, int]) -> Candidate:
        group = self._classifier.classify(sentence)
        return Candidate(
            category=group.category,
            key=self._unique(group.category, sentence, keys),
            value=self._namer.value(group.category, sentence),
            content=sentence.text,
            confidence=demand.confidence,
            reasoning=_reasoning(demand, group),
            span=span,
            heading=sentence.heading,
        )

    def _unique(self, category: str, sentence: Sentence, keys: dict[str, int]) -> str:
        """The sentence's key; qualified by its own words, then numbered, when it is taken."""
        key = self._namer.key(category, sentence)
        if key in keys:
            key = self._namer.qualified(key, sentence)
        unique, count = key, keys.get(key, 0)
        while unique in keys:
            count += 1
            unique = f"{key}_{count + 1}"
        keys[unique] = 0
        keys[key] = count
        return unique


def _reasoning(demand: Demand, group: Class) -> str:
    shown = ", ".join(f'"{word}"' for word in group.words[:4])
    why = f"{group.category} by {shown}" if shown else f"{group.category} by its context"
    return "; ".join((*demand.reasons, why))
