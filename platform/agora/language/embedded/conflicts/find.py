"""Runs every rule over the facts and keeps the gravest finding of each pair."""

from collections.abc import Callable, Iterator, Sequence

from agora.language.embedded.conflicts import numbers, words
from agora.language.embedded.conflicts.facts import Fact, FactReader
from agora.language.embedded.naming import Namer
from agora.language.embedded.reading import Reader
from agora.language.ports import Candidate, Contradiction

MAX_FOUND = 200
"""More contradictions than this help nobody; the gravest are kept."""
SEVERITIES = ("critical", "high", "medium", "low")
RULES: tuple[Callable[[Sequence[Fact], FactReader], Iterator[Contradiction]], ...] = (
    numbers.availability,
    numbers.retention,
    numbers.limits,
    numbers.backups,
    words.technology,
    words.timeline,
    words.polarity,
)


class ConflictFinder:
    """Finds contradictions among candidates."""

    def __init__(self, reader: Reader, namer: Namer) -> None:
        self._facts = FactReader(reader, namer)

    def find(self, candidates: Sequence[Candidate]) -> list[Contradiction]:
        """The contradictions, gravest first, then in reading order; each pair once."""
        facts = self._facts.read(candidates)
        best: dict[tuple[str, str], tuple[int, int, Contradiction]] = {}
        for rule in RULES:
            for found in rule(facts, self._facts):
                pair = (found.left.content, found.right.content)
                rank = SEVERITIES.index(found.severity)
                if pair not in best or rank < best[pair][0]:
                    best[pair] = (rank, best[pair][1] if pair in best else len(best), found)
        ranked = sorted(best.values(), key=lambda entry: (entry[0], entry[1]))
        return [found for _, _, found in ranked[:MAX_FOUND]]
