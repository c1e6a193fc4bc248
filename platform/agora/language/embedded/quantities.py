"""Numbers with a unit and a comparator, and dates, in a sentence."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agora.language.embedded.tokens import Match, TermIndex, Token
from agora.language.lexicon import Lexicon, Unit

_CLOCK = re.compile(
    r"\b([01]?\d|2[0-4])(?:[:.]([0-5]\d))?\s*(am|pm)?\s*(?:to|and|until|till|-|–|—)\s*([01]?\d|2[0-4])(?:[:.]([0-5]\d))?\s*(am|pm)?\b",
    re.IGNORECASE,
)  # one pattern
_WINDOW_BEFORE = 5
"""How many words before a number a comparator may stand."""
_WINDOW_AFTER = 4
_SCALES = {"hundred": 100.0, "thousand": 1000.0, "million": 1e6, "billion": 1e9, "k": 1000.0, "m": 1e6, "bn": 1e9}
_COUNTS = frozenset({"people", "load", "things", "count"})
HOUR = 3600.0
DAY = 24 * HOUR
MONTH = 2629800.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """A number with a unit. ``low`` and ``high`` bound what it allows, in the base unit of its dimension."""

    number: float
    symbol: str
    dimension: str
    comparator: str
    base: float
    start: int
    end: int

    @property
    def low(self) -> float:
        """The least value that it allows."""
        return self.base if self.comparator in {">=", ">", "="} else float("-inf")

    @property
    def high(self) -> float:
        """The greatest value that it allows."""
        return self.base if self.comparator in {"<=", "<", "="} else float("inf")

    @property
    def text(self) -> str:
        """Comparator, number and unit: "<= 800 ms"."""
        number = f"{self.number:,.10g}".replace(",", "_") if self.number < 1e15 else f"{self.number:g}"  # noqa: PLR2004
        number = number.replace("_", "")
        joint = "" if self.symbol == "%" else " "
        head = "" if self.comparator == "=" else f"{self.comparator} "
        return f"{head}{number}{joint}{self.symbol}"


class QuantityReader:
    """Finds quantities with the units, comparators and number words of a lexicon."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._units: TermIndex[Unit] = TermIndex((word, unit) for unit in lexicon.units for word in unit.words)
        self._comparators: TermIndex[str] = TermIndex(
            (phrase, sign) for sign, phrases in lexicon.comparators.items() for phrase in phrases
        )
        self._numbers = lexicon.numbers

    def read(self, tokens: Sequence[Token]) -> list[Quantity]:
        """The quantities in reading order. Numbers without a unit are left out."""
        units = {match.start: match for match in self._units.find(tokens)}
        if not units:
            return []
        comparators = self._comparators.find(tokens)
        found: list[Quantity] = []
        position = 0
        while position < len(tokens):
            number, end = self._number(tokens, position)
            if number is None:
                position += 1
                continue
            sign = _sign(comparators, position, end, found[-1].end if found else 0)
            unit = (
                self._unit_at(units, tokens, end) or self._money_before(units, position) or _counted(tokens, end, sign)
            )
            if unit is not None:
                found.append(_quantity(number, unit, sign, position, end + 1))
            position = end
        return found

    def _unit_at(self, units: dict[int, Match[Unit]], tokens: Sequence[Token], end: int) -> Unit | None:
        # "5 failed attempts", "600 concurrent users": one adjective may stand between.
        for position in (end, end + 1, end + 2):
            match = units.get(position)
            if match is not None:
                unit = match.payload
                if unit.dimension in _COUNTS:
                    return replace(unit, symbol=tokens[position].word)
                return unit if position == end else None
        return None

    def _money_before(self, units: dict[int, Match[Unit]], position: int) -> Unit | None:
        match = units.get(position - 1)
        unit = match.payload if match is not None else None
        return unit if unit is not None and unit.dimension == "money" else None

    def _number(self, tokens: Sequence[Token], position: int) -> tuple[float | None, int]:
        word = tokens[position].word
        value = _digits(word) if word[0].isdigit() else self._numbers.get(word)
        end = position + 1
        while value is not None and end < len(tokens):
            following = tokens[end].word
            if following not in _SCALES or (following in {"k", "m"} and tokens[end].start != tokens[end - 1].end):
                break
            value *= _SCALES[following]
            end += 1
        return value, end


def _counted(tokens: Sequence[Token], end: int, sign: str) -> Unit | None:
    """Things that no list knows, where a number bounds them: "up to 60 volunteers"."""
    word = tokens[end].word if end < len(tokens) else ""
    plural = len(word) > 3 and word.isalpha() and word.endswith("s") and not word.endswith("ss")  # noqa: PLR2004
    return Unit(symbol=word, dimension="things", factor=1.0, words=()) if plural and sign != "=" else None


def _digits(word: str) -> float | None:
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", word):
        return float(word.replace(",", ""))
    if re.fullmatch(r"\d+(\.\d+)?", word):
        return float(word) if len(word) <= 18 else None  # noqa: PLR2004  # longer ones are identifiers
    if re.fullmatch(r"\d+,\d{1,2}", word):
        return float(word.replace(",", "."))
    return None


def _quantity(number: float, unit: Unit, sign: str, start: int, end: int) -> Quantity:
    return Quantity(
        number=number,
        symbol=unit.symbol,
        dimension=unit.dimension,
        comparator=sign,
        base=number * unit.factor,
        start=start,
        end=end,
    )


def _sign(comparators: Sequence[Match[str]], start: int, end: int, last: int) -> str:
    """The comparator nearest in front of a number, else one shortly behind it, else "="."""
    before = [m for m in comparators if last <= m.start and start - _WINDOW_BEFORE <= m.end - 1 < start]
    if before:
        return str(max(before, key=lambda m: m.end).payload)
    after = [m for m in comparators if end <= m.start <= end + _WINDOW_AFTER]
    postfix = [m for m in after if m.start <= end + 1]
    return str(postfix[0].payload) if postfix else "="


def clock_range(text: str) -> float | None:
    """The seconds between two times of day ("from 01:00 to 05:00"), or None. Bare numbers do not count as times."""
    for match in _CLOCK.finditer(text):
        hour, minute, half, to_hour, to_minute, to_half = match.groups()
        if not (minute or half or to_half or to_minute):
            continue
        start = _seconds(hour, minute, half or to_half)
        end = _seconds(to_hour, to_minute, to_half)
        return (end - start) % DAY or DAY
    return None


def _seconds(hour: str, minute: str | None, half: str | None) -> float:
    hours = int(hour) % 12 if half else int(hour)
    if half and half.lower() == "pm":
        hours += 12
    return hours * HOUR + int(minute or 0) * 60.0
