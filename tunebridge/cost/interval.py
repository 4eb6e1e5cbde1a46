"""A quantity, or an amount of money, that is known within bounds."""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Self

from pydantic import PlainSerializer, model_validator

from tunebridge.spec import SpecModel

MICRO = Decimal("0.000001")
"""Costs are kept to a millionth of a dollar, so that totals are exactly the sum of what they are made of."""
Usd = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]
"""US dollars: exact here, a number in JSON. No other currency is ever read, so none can be mixed in."""


class Interval(SpecModel):
    """A quantity with its bounds; low <= likely <= high."""

    low: float
    likely: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 <= self.low <= self.likely <= self.high:
            raise ValueError(f"{self.low}, {self.likely}, {self.high} are not in order; give low <= likely <= high")
        return self

    @classmethod
    def exactly(cls, value: float) -> "Interval":
        """Return a quantity that is known."""
        return cls(low=value, likely=value, high=value)

    @property
    def is_exact(self) -> bool:
        """Whether the bounds are the same."""
        return self.low == self.high

    def __add__(self, other: "Interval") -> "Interval":
        """Return the sum, bound by bound."""
        return Interval(low=self.low + other.low, likely=self.likely + other.likely, high=self.high + other.high)

    def __mul__(self, other: "Interval | float") -> "Interval":
        """Return the product, bound by bound."""
        factor = other if isinstance(other, Interval) else Interval.exactly(other)
        return Interval(low=self.low * factor.low, likely=self.likely * factor.likely, high=self.high * factor.high)


class Cost(SpecModel):
    """An amount of US dollars with its bounds; low <= likely <= high."""

    low: Usd
    likely: Usd
    high: Usd

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.likely <= self.high:
            raise ValueError(f"{self.low}, {self.likely}, {self.high} are not in order; give low <= likely <= high")
        return self

    @classmethod
    def of(cls, quantity: Interval, usd: Decimal) -> "Cost":
        """Return what a quantity costs at a price per unit."""
        low, likely, high = (
            (usd * Decimal(repr(value))).quantize(MICRO, ROUND_HALF_EVEN)
            for value in (quantity.low, quantity.likely, quantity.high)
        )
        return cls(low=low, likely=likely, high=high)

    @classmethod
    def sum(cls, costs: Iterable["Cost"]) -> "Cost":
        """Return the sum, bound by bound; of nothing it is zero."""
        total = cls(low=Decimal(0), likely=Decimal(0), high=Decimal(0))
        for cost in costs:
            total = cls(low=total.low + cost.low, likely=total.likely + cost.likely, high=total.high + cost.high)
        return total
