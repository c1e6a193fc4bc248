"""What the embedded analyst knows of the world, as one value. The words are data of a domain, not code.

Patterns of terms are words separated by spaces; a word ending in ``*`` matches every word that begins so. Case,
hyphens and line breaks do not matter: "log in" matches "Log-in", "encrypt*" matches "encryption".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """A pattern and how much it speaks for what it stands for (negative: against)."""

    pattern: str
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Aspect:
    """One thing that a category is asked about. ``dimensions`` are the kinds of quantity it is measured in.

    ``single`` aspects have one value per subject, so two different values are a contradiction.
    """

    key: str
    terms: tuple[str, ...]
    dimensions: tuple[str, ...] = ()
    single: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A quantity that speaks for a category: in base units from ``low`` up to below ``high``.

    ``upper``: only where it is an upper bound ("at most"). ``words`` names a list of Lexicon.words of which one must
    stand in the same sentence; "" asks for none.
    """

    dimension: str
    weight: float
    low: float = float("-inf")
    high: float = float("inf")
    upper: bool = False
    words: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Category:
    """One of the categories of a project. ``headings`` are words in a heading that speak for it.

    ``prior`` is its head start: what a demand is when nothing says otherwise.
    """

    name: str
    title: str
    target: float
    terms: tuple[Term, ...]
    headings: tuple[Term, ...] = ()
    aspects: tuple[Aspect, ...] = ()
    measures: tuple[Measure, ...] = ()
    prior: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A unit of quantity: ``factor`` converts into the dimension's base unit."""

    symbol: str
    dimension: str
    factor: float
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Technology:
    """A product or style, with every way people write it."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TechnologyGroup:
    """Technologies that do the same job; ``nouns`` name it.

    In a ``strict`` group two members always exclude each other, in an ``exclusive`` one when both are named for the
    same thing, or when exactly one is demanded.
    """

    name: str
    nouns: tuple[str, ...]
    strict: bool
    exclusive: bool
    members: tuple[Technology, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """A phrase that shows that a sentence demands something, or that it does not.

    ``level`` is explicit, strong, inferred or weak for demands, and background for what speaks against one.
    """

    name: str
    level: str
    weight: float
    phrases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BiasPhrase:
    """A phrase that pushes the person who is asked towards an answer."""

    phrase: str
    kind: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """All of it. Categories are in their order; ``words`` holds small named lists (negations, stop words, ...).

    A sentence that names a technology counts ``technology_weight`` for ``technology_category``.
    """

    categories: tuple[Category, ...]
    units: tuple[Unit, ...]
    groups: tuple[TechnologyGroup, ...]
    cues: tuple[Cue, ...]
    technology_category: str = ""
    technology_weight: float = 0.0
    bias: tuple[BiasPhrase, ...] = ()
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    comparators: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def targets(self) -> dict[str, float]:
        """Category name to target, in order."""
        return {category.name: category.target for category in self.categories}

    @cached_property
    def titles(self) -> dict[str, str]:
        """Category name to the title shown to people."""
        return {category.name: category.title for category in self.categories}
