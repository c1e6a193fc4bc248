"""What a step spends: tokens and money, checked here so that a wrong figure fails where it is given."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

MAX_TOKENS = 10**12
MAX_COST_USD = Decimal(10**9)
MAX_NAME = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """One call's price. With a ``key`` it counts once over all tries of its step."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: Decimal = Decimal(0)
    model: str = ""
    key: str | None = None

    def __post_init__(self) -> None:
        for name in ("tokens_in", "tokens_out"):
            count = getattr(self, name)
            if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_TOKENS:
                raise ValueError(f"{name} must be a whole number from 0 to {MAX_TOKENS}, not {count!r}")
        if not 0 <= self.cost_usd <= MAX_COST_USD:
            raise ValueError(f"cost_usd must be 0 to {MAX_COST_USD}, not {self.cost_usd}")
        for name in ("model", "key"):
            text = getattr(self, name)
            if text is not None and (len(text) > MAX_NAME or "\x00" in text):
                raise ValueError(f"{name} must have at most {MAX_NAME} characters and no NUL, not {text[:50]!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What calls cost together."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: Decimal = Decimal(0)

    @property
    def tokens(self) -> int:
        """Both ways."""
        return self.tokens_in + self.tokens_out

    def plus(self, spent: Spent) -> "Usage":
        """With one more call."""
        return Usage(
            tokens_in=self.tokens_in + spent.tokens_in,
            tokens_out=self.tokens_out + spent.tokens_out,
            cost_usd=self.cost_usd + spent.cost_usd,
        )


def dollars(value: Decimal | float | str) -> Decimal:
    """An exact amount; a float counts as the decimal that it is shown as. Raises ValueError for what is no amount."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"cost_usd must be a number, not {value!r}") from None
    if not amount.is_finite():
        raise ValueError(f"cost_usd must be a finite number, not {value!r}")
    return amount
