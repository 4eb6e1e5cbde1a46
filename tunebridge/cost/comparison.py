"""Estimates of one job on several backends, side by side, and where hosting pays."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Literal

from tunebridge.cost.bill import MILLION, ServeTokens
from tunebridge.cost.estimate import CostEstimate
from tunebridge.cost.interval import Cost
from tunebridge.spec import SpecModel

USUAL_SHARE = ServeTokens(input=3, output=1)
"""Tokens read for one that is written, where nothing is said of the use."""


class BreakEven(SpecModel):
    """From how many tokens a month on a model hosted by the hour is cheaper than one that is billed by token."""

    hosted: str
    by_token: str
    tokens_per_month: float | None
    """Tokens read and written; None where hosting never pays, because its own tokens cost as much."""
    input_share: float
    """Share of them that is read."""


class Comparison(SpecModel):
    """What one job costs on several backends, cheapest first, those without a price last."""

    schema_version: Literal[1] = 1
    generated_on: date
    currency: Literal["USD"] = "USD"
    train_rows: int | None = None
    validation_rows: int | None = None
    serve_tokens: ServeTokens | None = None
    """Tokens per month that were asked for; with them the order is that of the job and one month together."""
    estimates: tuple[CostEstimate, ...]
    break_even: tuple[BreakEven, ...] = ()

    @property
    def cheapest(self) -> CostEstimate | None:
        """The cheapest row that has a price and can be submitted as it is, None where there is none."""
        return next((row for row in self.estimates if row.status == "ok" and self.deciding(row)), None)

    def deciding(self, row: CostEstimate) -> Cost | None:
        """Return the cost by which a row is placed; what has no price, or cannot be ordered, has none."""
        if row.status in ("closed", "not planned"):
            return None
        return row.once if self.serve_tokens is None else row.total


def compare(estimates: Sequence[CostEstimate], *, today: date, serve: ServeTokens | None) -> Comparison:
    """Put estimates in order of their likely cost: what can be ordered and has a price, then the rest."""
    made = Comparison(generated_on=today, serve_tokens=serve, estimates=tuple(estimates))

    def place(row: CostEstimate) -> tuple[bool, Decimal, str]:
        cost = made.deciding(row)
        return cost is None, cost.likely if cost else Decimal(0), row.backend

    ordered = tuple(sorted(estimates, key=place))
    return made.model_copy(update={"estimates": ordered, "break_even": _break_even(ordered, serve or USUAL_SHARE)})


def _break_even(rows: Sequence[CostEstimate], use: ServeTokens) -> tuple[BreakEven, ...]:
    """Compare each hosted model with the cheapest one that is billed by token alone."""
    share = use.input / (use.input + use.output)
    usable = [row for row in rows if row.status in ("ok", "refused")]
    by_token = [row for row in usable if not row.by_component.get("hosting") and _per_million(row, share) is not None]
    if not by_token:
        return ()
    other = min(by_token, key=lambda row: _per_million(row, share) or Decimal(0))
    return tuple(_against(row, other, share) for row in usable if row.by_component.get("hosting"))


def _against(hosted: CostEstimate, other: CostEstimate, share: float) -> BreakEven:
    month, saved = hosted.by_component["hosting"], _per_million(other, share)
    assert month is not None
    assert saved is not None
    saved -= _per_million(hosted, share) or Decimal(0)
    tokens = float(month.likely / saved) * MILLION if saved > 0 else None
    return BreakEven(hosted=hosted.backend, by_token=other.backend, tokens_per_month=tokens, input_share=share)


def _per_million(row: CostEstimate, share: float) -> Decimal | None:
    prices = row.tuned_usd_per_million
    if "input" not in prices or "output" not in prices:
        return None
    return Decimal(str(prices["input"])) * Decimal(str(share)) + Decimal(str(prices["output"])) * Decimal(
        str(1 - share)
    )
