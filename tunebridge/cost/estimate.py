"""A Bill and a PriceBook -> CostEstimate: what a job costs on one backend, line by line, with its sources."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Literal

from pydantic import computed_field

from tunebridge.cost.bill import MONTHLY, Bill, Component, Line
from tunebridge.cost.interval import Cost, Interval
from tunebridge.cost.price import Freshness, Meter, Origin, Price, PriceBook, Unit
from tunebridge.plan import Plan
from tunebridge.spec import SpecModel

Status = Literal["ok", "no price", "refused", "closed", "not planned"]
OUTWEIGHS = 1
"""Months of hosting that cost more than the training, beyond which a warning is due."""


class PriceUsed(SpecModel):
    """The price row behind a cost."""

    usd_per_unit: float
    sku: str
    region: str
    tier: str | None
    source_url: str
    as_of: date
    age_days: int
    freshness: Freshness
    confidence: Literal["high", "medium", "low", "none"]
    origin: Origin


class PricedLine(SpecModel):
    """One line of a bill with its cost."""

    component: Component
    name: str
    quantity: Interval
    unit: Unit
    cost: Cost | None = None
    """None where no price is known, which is not the same as nothing."""
    price: PriceUsed | None = None
    no_price: str | None = None
    """Why there is no price."""


class CostEstimate(SpecModel):
    """What a job costs on one backend; money in US dollars."""

    backend: str
    base_model: str = ""
    status: Status = "ok"
    """`refused`: the backend cannot run the job as it is written; `closed`: it takes no such jobs any more."""
    reasons: tuple[str, ...] = ()
    """Why the status is not `ok`."""
    place: str = ""
    """The machine, tier or mode."""
    lines: tuple[PricedLine, ...] = ()
    hours: Interval | None = None
    """How long the job takes; None where the service does not say."""
    tuned_usd_per_million: dict[Literal["input", "output"], float] = {}
    """Price of a million tokens that the tuned model reads or writes, where it is billed by token."""
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_chosen: bool = False
    """Whether the job file names this backend."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def once(self) -> Cost | None:
        """What the job itself costs, training and validation; None where a price is missing."""
        return _sum(line for line in self.lines if line.component not in MONTHLY)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def monthly(self) -> Cost | None:
        """What the tuned model costs each month: hosting, storage and the tokens asked for; zero where nothing does."""
        return _sum((line for line in self.lines if line.component in MONTHLY), nothing=self.once is not None)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> Cost | None:
        """The job and one month; None where a price is missing."""
        return None if self.once is None or self.monthly is None else Cost.sum((self.once, self.monthly))

    @property
    def by_component(self) -> dict[Component, Cost | None]:
        """The cost of each component that there is."""
        kinds = dict.fromkeys(line.component for line in self.lines)
        return {kind: _sum(line for line in self.lines if line.component == kind) for kind in kinds}


def unpriced(backend: str, status: Status, reason: str, *, base_model: str = "") -> CostEstimate:
    """Return the row of a backend for which nothing can be computed, with the reason."""
    return CostEstimate(backend=backend, base_model=base_model, status=status, reasons=(reason,))


def priced(plan: Plan, bill: Bill, book: PriceBook, today: date, *, is_served: bool = False) -> CostEstimate:
    """Return what a plan costs: each line of its bill with the price that counts.

    `is_served`: tokens of the tuned model were asked for; a bill that says nothing of them gets a line without a price.
    """
    found = [(line, _price(plan.backend, line, book)) for line in bill.lines]
    lines = tuple(_priced(line, price, today) for line, price in found)
    if is_served and not any(line.component in ("hosting", "inference") for line in lines):
        lines += (_served_elsewhere(),)
    rows = [price for _, price in found if price is not None]
    status, reasons = _status(plan, bill, lines, rows, today)
    estimate = CostEstimate(
        backend=plan.backend,
        base_model=plan.base_model,
        status=status,
        reasons=reasons,
        place=bill.place,
        lines=lines,
        hours=bill.hours,
        tuned_usd_per_million=_tuned(plan.backend, bill, book),
        assumptions=bill.assumptions,
        warnings=(*plan.warnings, *bill.warnings, *_price_warnings(found, today)),
    )
    return estimate.model_copy(update={"warnings": (*estimate.warnings, *_hosting_warning(estimate))})


def _price(backend: str, line: Line, book: PriceBook) -> Price | None:
    row = book.find(backend, line.meter, line.sku, region=line.region, tier=line.tier)
    return row if row is None or row.unit == line.unit else None


def _priced(line: Line, price: Price | None, today: date) -> PricedLine:
    shown = {"component": line.component, "name": line.name, "quantity": line.quantity, "unit": line.unit}
    if price is None or price.usd is None:
        why = price.note if price else f"no row has a price for {line.sku} ({line.meter})"
        return PricedLine.model_validate({**shown, "no_price": why or f"the price of {line.sku} is not known"})
    used = PriceUsed(
        usd_per_unit=float(price.usd),
        sku=price.sku,
        region=price.region,
        tier=price.tier,
        source_url=price.source_url,
        as_of=price.as_of,
        age_days=price.age_days(today),
        freshness=price.freshness(today),
        confidence=price.confidence,
        origin=price.origin,
    )
    return PricedLine.model_validate({**shown, "cost": Cost.of(line.quantity, price.usd), "price": used})


def _served_elsewhere() -> PricedLine:
    values = {"component": "inference", "name": "answers", "quantity": Interval.exactly(1), "unit": "month"}
    why = "the result is weights; what their answers cost depends on where you run them"
    return PricedLine.model_validate({**values, "no_price": why})


def _status(
    plan: Plan, bill: Bill, lines: Sequence[PricedLine], rows: Sequence[Price], today: date
) -> tuple[Status, tuple[str, ...]]:
    closed = [row for row in rows if row.orderable_until and row.orderable_until < today]
    if closed:
        return "closed", tuple(f"{row.sku} could be ordered until {row.orderable_until}" for row in closed)
    missing = tuple(dict.fromkeys(line.no_price for line in lines if line.no_price))
    if plan.refused:
        return "refused", (*(f"{line.field}: {line.reason}" for line in plan.refused), *missing)
    training = [line for line in lines if line.component not in MONTHLY]
    if bill.unpriced or not training or any(line.no_price for line in training):
        return "no price", tuple(filter(None, (bill.unpriced, *missing))) or ("the backend bills by no known rule",)
    return "ok", missing


def _tuned(backend: str, bill: Bill, book: PriceBook) -> dict[str, float]:
    """Return the tuned model's prices per million tokens, whether or not tokens were asked for."""
    if bill.serves is None:
        return {}
    sku, tier = bill.serves
    meters: tuple[Meter, ...] = ("input", "output")
    rows = {meter: book.find(backend, meter, sku, tier=tier) for meter in meters}
    return {meter: float(row.usd) for meter, row in rows.items() if row is not None and row.usd is not None}


def _price_warnings(found: Sequence[tuple[Line, Price | None]], today: date) -> list[str]:
    told = []
    for line, price in found:
        if price is None or price.usd is None:
            continue
        what, freshness = f"The price of {price.sku} ({price.meter})", price.freshness(today)
        if freshness != "fresh":
            told.append(f"{what} is {freshness}: {price.age_days(today)} days old.")
        if price.confidence == "low":
            told.append(f"{what} is uncertain: {price.note or price.source_url}.")
        if line.region and price.region not in ("any", line.region):
            told.append(f"{what} is that of {price.region}; {line.region} may differ.")
        if price.orderable_until and price.orderable_until >= today:
            days = (price.orderable_until - today).days
            told.append(f"{price.sku} can be ordered until {price.orderable_until} ({days} days): {price.note}.")
    return list(dict.fromkeys(told))


def _hosting_warning(estimate: CostEstimate) -> list[str]:
    hosting = estimate.by_component.get("hosting")
    if hosting is None or estimate.once is None or hosting.likely <= OUTWEIGHS * estimate.once.likely:
        return []
    month, once = f"{hosting.likely:,.0f}", f"{estimate.once.likely:,.2f}"
    return [f"A month of hosting ({month} USD) costs more than the job itself ({once} USD); undeploy what is not used."]


def _sum(lines: Iterable[PricedLine], *, nothing: bool = False) -> Cost | None:
    """Return the sum of lines; None where a price is missing, and of no lines unless `nothing` is a known sum."""
    costs = [line.cost for line in lines]
    if not costs and not nothing:
        return None
    known = [cost for cost in costs if cost is not None]
    return Cost.sum(known) if len(known) == len(costs) else None
