"""A comparison as a web page that needs nothing but itself: intervals on one scale, the table, what lies behind."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from tunebridge.cli.costs_table import COLUMNS, break_even, cells, money, other_models
from tunebridge.cost.comparison import Comparison
from tunebridge.cost.estimate import CostEstimate
from tunebridge.cost.interval import Cost

WIDTH, LEFT, RIGHT, ROW, TOP = 860, 150, 90, 34, 30
LEAST_USD = 0.001
"""What the scale begins with at least; an amount of nothing is drawn at its left end."""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>What will it cost</title>
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
:root {{ color-scheme: light dark; --ink: light-dark(#1b1f24, #e6e9ec); --faint: light-dark(#6a737d, #98a1ab);
  --grid: light-dark(#e3e6ea, #343a42); --bar: light-dark(#8ab4e8, #3f6fa8); --dot: light-dark(#1a4f8f, #a9cdf7);
  --warn: light-dark(#8a5a00, #e6b450) }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 84em; margin: 2em auto; padding: 0 1em }}
svg {{ width: 100%; height: auto }} svg text {{ font: 13px system-ui, sans-serif; fill: var(--ink) }}
svg .faint {{ fill: var(--faint); font-size: 12px }} .grid {{ stroke: var(--grid) }}
.range {{ stroke: var(--bar); stroke-width: 8; stroke-linecap: round }} .likely {{ fill: var(--dot) }}
.scroll {{ overflow-x: auto }} table {{ border-collapse: collapse; font-size: 14px }}
th, td {{ text-align: left; padding: .35em .9em .35em 0; border-bottom: 1px solid var(--grid); vertical-align: top }}
td.number {{ white-space: nowrap }} .faint {{ color: var(--faint) }} .warning {{ color: var(--warn) }}
summary {{ cursor: pointer; font-weight: 600; margin: .6em 0 .2em }} li {{ margin: .15em 0; overflow-wrap: anywhere }}
</style></head><body>
<h1>What will it cost</h1>
<p>{lead}</p>
<h2>{title}</h2>
{plot}
<p class="faint">The bar reaches from low to high, the dot is the likely cost.
The scale is logarithmic; an amount of nothing stands at its left end.</p>
<h2>Side by side</h2>
<div class="scroll"><table><tr>{head}</tr>
{rows}
</table></div>
{hosting}
<h2>What lies behind it</h2>
{details}
<p class="faint">US dollars; made on {day} from dated price rows; no vendor was asked, and prices may have changed.</p>
</body></html>
"""


def page(made: Comparison) -> str:
    """Return the web page of a comparison."""
    cheapest = made.cheapest
    lead = f"Cheapest: <b>{escape(cheapest.backend)}</b>." if cheapest else "No backend has a known price for this job."
    rows = f" {made.train_rows:,} training rows." if made.train_rows is not None else ""
    return PAGE.format(
        lead=lead + rows + other_models(made),
        title="The job and one month of serving" if made.serve_tokens else "The job",
        plot=_plot(made),
        head="".join(f"<th>{escape(name)}</th>" for name in COLUMNS),
        rows="\n".join(_row(row) for row in made.estimates),
        hosting=_list(break_even(point) for point in made.break_even),
        details="\n".join(_details(row) for row in made.estimates),
        day=made.generated_on,
    )


def _plot(made: Comparison) -> str:
    shown = [(row, made.deciding(row)) for row in made.estimates]
    costs = [cost for _, cost in shown if cost is not None]
    low, high = _scale(costs)
    height = TOP + ROW * len(shown) + 10
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Costs with their bounds">']
    for tick in _ticks(low, high):
        x = _place(tick, low, high)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height}"/>')
        parts.append(f'<text class="faint" x="{x:.1f}" y="14" text-anchor="middle">{_dollars(tick)}</text>')
    for number, (row, cost) in enumerate(shown):
        parts.append(_bar(row, cost, TOP + ROW * number + ROW / 2, (low, high)))
    return "\n".join([*parts, "</svg>"])


def _bar(row: CostEstimate, cost: Cost | None, y: float, scale: tuple[float, float]) -> str:
    name = escape(row.backend) + (" *" if row.is_chosen else "")
    label = f'<text x="{LEFT - 14}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
    if cost is None:
        why = row.status if row.status != "ok" else "no price"
        return f'{label}<text class="faint" x="{LEFT}" y="{y + 4:.1f}">{escape(why)}</text>'
    low, likely, high = (_place(float(value), *scale) for value in (cost.low, cost.likely, cost.high))
    note = f"{money(cost)} USD"
    return (
        f"{label}<g><title>{escape(note)}</title>"
        f'<line class="range" x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}"/>'
        f'<circle class="likely" cx="{likely:.1f}" cy="{y:.1f}" r="6"/></g>'
        f'<text class="faint" x="{high + 12:.1f}" y="{y + 4:.1f}">{_dollars(float(cost.likely))}</text>'
    )


def _scale(costs: Sequence[Cost]) -> tuple[float, float]:
    """Return the ends of the scale: powers of ten around every amount."""
    amounts = [float(value) for cost in costs for value in (cost.low, cost.high) if value > 0]
    low, high = max(LEAST_USD, min(amounts, default=1.0)), max(amounts, default=1.0)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(max(high, low)))
    return 10.0**first, 10.0 ** max(last, first + 1)


def _place(usd: float, low: float, high: float) -> float:
    share = (math.log10(max(usd, low)) - math.log10(low)) / (math.log10(high) - math.log10(low))
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _ticks(low: float, high: float) -> list[float]:
    return [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]


def _dollars(usd: float) -> str:
    return f"${usd:,.0f}" if usd >= 10 else f"${usd:.2f}" if usd >= 0.01 or usd == 0 else f"${usd:.2g}"


def _row(row: CostEstimate) -> str:
    numbers = {"job, USD", "time", "tuned $/1M", "a month, USD", "price age"}
    marks = (' class="number"' if name in numbers else "" for name in COLUMNS)
    return (
        "<tr>"
        + "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(cells(row), marks, strict=True))
        + "</tr>"
    )


def _details(row: CostEstimate) -> str:
    lines = []
    for line in row.lines:
        amount = f"{line.component}: {line.name}, {line.quantity.likely:,.4g} x {line.unit}"
        if line.price is None:
            lines.append(f"<li>{escape(amount)}: no price</li>")
            continue
        source = f"{line.price.source_url}, {line.price.as_of}, {line.price.confidence} confidence"
        said = escape(f"{amount} at {line.price.usd_per_unit:g} USD = {money(line.cost)}")
        lines.append(f'<li>{said} <span class="faint">{escape(source)}</span></li>')
    lines += [f"<li>{escape(row.status)}: {escape(reason)}</li>" for reason in row.reasons]
    lines += [f'<li class="faint">assumed: {escape(sentence)}</li>' for sentence in row.assumptions]
    lines += [f'<li class="warning">{escape(sentence)}</li>' for sentence in row.warnings]
    name = escape(f"{row.backend}: {row.base_model}" if row.base_model else row.backend)
    return f"<details><summary>{name}</summary><ul>{''.join(lines)}</ul></details>"


def _list(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""
