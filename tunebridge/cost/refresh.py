"""Today's price rows beside those that were known: which are kept, and what is said of them."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from tunebridge.cost.price import Meter, Price, PriceBook
from tunebridge.spec import SpecModel

JUMP = Decimal(2)
"""How many times a price may change before it is told: list services have had typing errors of far more."""
ORDER: tuple[Meter, ...] = ("input", "output")
"""What never costs more than what follows it, at one model, region and tier."""


class Refreshed(SpecModel):
    """What a refresh brought."""

    backend: str
    rows: tuple[Price, ...]
    """The rows that count from now on; packaged ones stay behind them for what the vendor did not list."""
    changed: int = 0
    """Rows whose price is another than was known."""
    warnings: tuple[str, ...] = ()


def checked(backend: str, fresh: Sequence[Price], known: PriceBook) -> Refreshed:
    """Return the fresh rows that can be believed; a unit of another kind leaves a row out, a jump is only told."""
    kept, warnings, changed = [], list[str](), 0
    for row in fresh:
        before = known.find(backend, row.meter, row.sku, region=row.region, tier=row.tier)
        if before is not None and before.unit != row.unit:
            warnings.append(f"{_name(row)} is listed by {row.unit}, and was known by {before.unit}: left out.")
            continue
        kept.append(row)
        if before is not None and before.usd != row.usd:
            changed += 1
            warnings.extend(_jump(row, before))
    return Refreshed(backend=backend, rows=tuple(kept), changed=changed, warnings=(*warnings, *_disorder(kept)))


def _jump(row: Price, before: Price) -> Iterator[str]:
    if not row.usd or not before.usd or before.region != row.region:
        return
    if not 1 / JUMP <= row.usd / before.usd <= JUMP:
        yield (
            f"{_name(row)} is {row.usd:f} USD, and was {before.usd:f} on {before.as_of} ({before.source_url}). "
            f"Compare it with the vendor's own page before you count on it."
        )


def _disorder(rows: Sequence[Price]) -> Iterator[str]:
    """Tell where tokens that are read cost more than those that are written."""
    groups: dict[tuple[str, str, str | None], dict[Meter, Decimal]] = {}
    for row in rows:
        if row.meter in ORDER and row.usd is not None:
            groups.setdefault((row.sku, row.region, row.tier), {})[row.meter] = row.usd
    for (sku, region, _), prices in groups.items():
        listed = [(meter, prices[meter]) for meter in ORDER if meter in prices]
        for (cheaper, low), (dearer, high) in zip(listed, listed[1:], strict=False):
            if low > high:
                yield f"{sku} in {region}: {cheaper} is {low:f} USD and {dearer} {high:f}, which no vendor means."


def _name(row: Price) -> str:
    where = "" if row.region == "any" else f" in {row.region}"
    return f"{row.sku} ({row.meter}){where}"
