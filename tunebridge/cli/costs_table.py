"""Costs on the terminal: the comparison as one table, then what lies behind it."""

from collections.abc import Sequence
from datetime import date

from tunebridge.cli import render
from tunebridge.cost.bill import MONTHLY
from tunebridge.cost.comparison import BreakEven, Comparison
from tunebridge.cost.estimate import CostEstimate, PricedLine
from tunebridge.cost.interval import Cost, Interval
from tunebridge.cost.price import Price

COLUMNS = (
    "",
    "backend",
    "model",
    "machine or tier",
    "job, USD",
    "time",
    "tuned $/1M",
    "a month, USD",
    "price age",
    "status",
)
NO_PRICE = "no price"


def comparison(made: Comparison) -> None:
    """Print the table, the lines behind each row, and where hosting pays."""
    render.table(COLUMNS, [cells(row) for row in made.estimates])
    for row in made.estimates:
        _behind(row)
    for point in made.break_even:
        render.text(break_even(point))
    render.text(f"\n* the job's own backend. {_cheapest(made)}")


def price_rows(rows: Sequence[Price], today: date) -> None:
    """Print price rows with source and age."""
    table = []
    for row in rows:
        usd = f"{row.usd:f}" if row.usd is not None else NO_PRICE
        where = ", ".join(part for part in (row.region if row.region != "any" else None, row.tier) if part)
        until = f"until {row.orderable_until}" if row.orderable_until else ""
        age = f"{row.age_days(today)} d {row.freshness(today)}".replace(" fresh", "")
        table.append(
            (row.backend, row.meter, row.sku, where, usd, row.unit, age, row.confidence, until, row.source_url)
        )
    head = ("backend", "meter", "what", "where, tier", "USD", "per", "age", "confidence", "orderable", "source")
    render.table(head, table)


def money(cost: Cost | None) -> str:
    """Return an amount with its bounds."""
    if cost is None:
        return NO_PRICE
    if cost.low == cost.high:
        return _usd(cost.likely)
    return f"{_usd(cost.likely)} ({_usd(cost.low)} - {_usd(cost.high)})"


def duration(hours: Interval | None) -> str:
    """Return hours with their bounds, in minutes where they are short."""
    if hours is None:
        return "?"
    scale, unit = (60, "min") if hours.likely < 1 else (1, "h")
    low, likely, high = (f"{value * scale:.3g}" for value in (hours.low, hours.likely, hours.high))
    return f"{likely} {unit} ({low} - {high})"


def tuned(row: CostEstimate) -> str:
    """Return the tuned model's prices per million tokens, in and out."""
    prices = row.tuned_usd_per_million
    return f"{prices['input']:g} / {prices['output']:g}" if len(prices) == 2 else ""


def age(row: CostEstimate) -> str:
    """Return how old the oldest price of a row is."""
    oldest = max((line.price for line in row.lines if line.price), key=lambda price: price.age_days, default=None)
    if oldest is None:
        return ""
    return f"{oldest.age_days} d" + ("" if oldest.freshness == "fresh" else f" {oldest.freshness}")


def break_even(point: BreakEven) -> str:
    """Return in words where hosting pays."""
    if point.tokens_per_month is None:
        return f"Hosting on {point.hosted} never pays against {point.by_token}: its own tokens cost as much."
    millions = f"{point.tokens_per_month / 1e6:,.0f}M"
    mix = f"{point.input_share:.0%} of them read"
    return f"Hosting on {point.hosted} pays against {point.by_token} from {millions} tokens a month ({mix})."


def cells(row: CostEstimate) -> tuple[str, ...]:
    """Return a row of the table."""
    is_kept = any(line.component in MONTHLY for line in row.lines)
    month = money(row.monthly) if is_kept and row.once is not None else ""
    return (
        "*" if row.is_chosen else "",
        row.backend,
        row.base_model,
        row.place,
        money(row.once),
        duration(row.hours) if row.lines else "",
        tuned(row),
        month,
        age(row),
        row.status,
    )


def _behind(row: CostEstimate) -> None:
    render.headline(f"{row.backend}" + (f": {row.base_model}" if row.base_model else ""))
    for line in row.lines:
        render.text(f"  {line.component:<10} {_line(line)}")
    for reason in row.reasons:
        render.text(f"  {row.status if row.status != 'ok' else NO_PRICE}: {reason}")
    for sentence in row.assumptions:
        render.text(f"  assumed: {sentence}")
    for sentence in row.warnings:
        render.text(f"  warning: {sentence}")


def _line(line: PricedLine) -> str:
    amount = f"{line.quantity.likely:,.4g} x {line.unit}"
    if line.price is None:
        return f"{line.name}: {amount}, {NO_PRICE}"
    source = f"{line.price.source_url}, {line.price.as_of}, {line.price.confidence} confidence, {line.price.origin}"
    return f"{line.name}: {amount} at {line.price.usd_per_unit:g} USD = {money(line.cost)} [{source}]"


def _usd(amount: object) -> str:
    value = float(str(amount))
    return f"{value:,.2f}" if value >= 0.1 or value == 0 else f"{value:.4f}"


def _cheapest(made: Comparison) -> str:
    found = made.cheapest
    if found is None:
        return "No backend that can run this job has a known price."
    by = "the job and a month of serving" if made.serve_tokens else "the job"
    return f"Cheapest by {by}: {found.backend}.{other_models(made)}"


def other_models(made: Comparison) -> str:
    """Return a remark where the rows are about different models, which are not the same thing for less money."""
    models = {row.base_model for row in made.estimates if row.base_model}
    return " The rows are about different models." if len(models) > 1 else ""
