"""Figures of an evaluation as inline SVG; everything that is not ours is escaped."""

from collections.abc import Iterator, Sequence
from html import escape

from tunebridge.data.rendering.preview import visible
from tunebridge.evaluation.pareto import Candidate
from tunebridge.evaluation.result import Comparison

WIDTH, LABEL, RIGHT, LINE = 720, 190, 20, 26


def forest(found: Sequence[Comparison], margin: float) -> str:
    """Return a plot of one metric's differences with their intervals, a line each; `margin` is shaded."""
    reach = max(1e-9, margin, *(max(abs(each.low), abs(each.high)) for each in found)) * 1.1
    height = LINE * len(found) + 34

    def x(value: float) -> float:
        return round(LABEL + (value / reach + 1) / 2 * (WIDTH - LABEL - RIGHT), 1)

    parts = [_shade(x(-margin), x(margin), height - 24)] if margin else []
    parts.append(f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="0" y2="{height - 24}"/>')
    for number, each in enumerate(found):
        parts += _span(each, LINE * number + LINE // 2, (x(each.low), x(each.difference), x(each.high)))
    for value in (-reach / 1.1, 0.0, reach / 1.1):
        written = f"{value:+.3g}" if value else "0"
        parts.append(f'<text class="tick" x="{x(value)}" y="{height - 6}" text-anchor="middle">{written}</text>')
    title = f"Differences in {label(found[0].metric)} with their intervals"
    return _svg(height, title, parts)


def scatter(candidates: Sequence[Candidate], axis: str, places: Sequence[float]) -> str:
    """Return a plot of quality with its interval (upwards) against cost or latency, the front marked."""
    low = min(each.quality.low for each in candidates)
    high = max(each.quality.high for each in candidates)
    most, height = max(places) * 1.1 or 1.0, 300

    def y(value: float) -> float:
        return round(height - 40 - (value - low) / ((high - low) or 1.0) * (height - 70), 1)

    parts = [f'<line class="zero" x1="60" x2="{WIDTH}" y1="{height - 30}" y2="{height - 30}"/>']
    parts += [f'<text class="tick" x="0" y="{y(value) + 4}">{value:.3g}</text>' for value in (low, high)]
    parts.append(f'<text class="tick" x="{WIDTH}" y="{height - 8}" text-anchor="end">{axis}, up to {most:.3g}</text>')
    for each, place in zip(candidates, places, strict=True):
        x, kind = round(70 + place / most * (WIDTH - 190), 1), "front" if each.is_on_front else "model"
        parts.append(f'<line x1="{x}" x2="{x}" y1="{y(each.quality.low)}" y2="{y(each.quality.high)}"/>')
        parts.append(f'<circle class="{kind}" cx="{x}" cy="{y(each.quality.mean)}" r="5"/>')
        parts.append(f'<text x="{x + 9}" y="{y(each.quality.mean) + 4}">{label(each.name, 24)}</text>')
    return _svg(height, f"Quality against {axis}", parts)


def label(text: str, most: int = 60) -> str:
    """Return somebody's text as it may stand in a page: shortened, control characters shown, escaped."""
    return escape(visible(shortened(text, most)))


def shortened(text: str, most: int) -> str:
    """Return a text, its middle left out where it is long."""
    hidden = len(text) - most
    return text if hidden <= 0 else f"{text[: most * 2 // 3]} [... {hidden:,} characters ...] {text[-most // 3 :]}"


def _span(found: Comparison, y: int, places: tuple[float, float, float]) -> Iterator[str]:
    low, middle, high = places
    yield f'<text x="0" y="{y + 4}">{label(found.model, 26)}</text>'
    yield f'<g class="{found.verdict}"><line class="span {found.verdict}" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
    said = f"{found.difference:+.4g}, {found.low:+.4g} to {found.high:+.4g}: {found.verdict}"
    yield f'<circle cx="{middle}" cy="{y}" r="5"><title>{said}</title></circle></g>'


def _shade(left: float, right: float, height: int) -> str:
    return f'<rect class="margin" x="{left}" y="0" width="{right - left:.1f}" height="{height}"/>'


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    inner = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}"><title>{title}</title>{inner}</svg>'
