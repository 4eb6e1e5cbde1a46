"""Prices as dated rows with a source, and the book that finds the one that counts.

A file of prices (TOML, or JSON of the same form) holds groups; what stands in a group holds for each of its rows:

    [[prices]]
    backend = "openai"            # in a packaged file: the plugin's own
    source_url = "https://..."
    as_of = 2026-11-22
    confidence = "high"
    rows = [{ meter = "training", sku = "gpt-4.1", unit = "1M tokens", usd = "25.00" }]
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from tunebridge.cost.interval import Usd
from tunebridge.errors import SpecError
from tunebridge.spec import SpecModel

Meter = Literal["training", "hosting", "input", "output", "storage", "electricity"]
"""What is counted: training, an endpoint that stands, tokens that a tuned model reads or writes, kept models, power."""
Unit = Literal["1M tokens", "hour", "month", "GB-month", "kWh"]
Origin = Literal["price file", "refreshed", "packaged"]
Freshness = Literal["fresh", "aged", "STALE"]
ANYWHERE = "any"
AGED_DAYS, STALE_DAYS = 30, 90


def _exact(value: object) -> object:
    """Read a price as it is written: a float of JSON would bring digits that nobody wrote."""
    return Decimal(repr(value)) if isinstance(value, float) else value


class Price(SpecModel):
    """One row of a price list."""

    backend: str
    meter: Meter
    sku: str
    """What is priced: a model, a kind of machine."""
    unit: Unit
    usd: Annotated[Usd, Field(ge=0), BeforeValidator(_exact)] | None = None
    """US dollars per unit; None where the offer exists and its price was not found."""
    currency: Literal["USD"] = "USD"
    """No other is accepted: TuneBridge converts no currencies."""
    region: str = ANYWHERE
    tier: str | None = None
    """Which of several ways of buying the same, such as `GlobalStandard` or `Developer`."""
    source_url: str
    as_of: date
    """Day on which the source said so."""
    confidence: Literal["high", "medium", "low", "none"]
    """high: the vendor's own list; medium: a dated copy by others; low: derived; none: not known."""
    orderable_until: date | None = None
    """Last day on which it can be ordered, where that is known."""
    note: str = ""
    origin: Origin = "packaged"

    @property
    def told(self) -> str:
        """Where the price comes from and how old it is, for people."""
        return f"{self.confidence} confidence, {self.as_of}, {self.source_url}"

    def age_days(self, today: date) -> int:
        """Return how old the row is, in days."""
        return max(0, (today - self.as_of).days)

    def freshness(self, today: date) -> Freshness:
        """Return whether the row is fresh (30 days), aged (90 days) or stale."""
        age = self.age_days(today)
        return "fresh" if age <= AGED_DAYS else "aged" if age <= STALE_DAYS else "STALE"


@dataclass(frozen=True)
class PriceBook:
    """Every known price; the first layer that has a row for something decides."""

    layers: Sequence[Sequence[Price]]
    """The user's contract prices, then refreshed rows, then packaged ones."""

    def rows(self, backend: str | None = None) -> list[Price]:
        """Return the rows that count, of one backend or all; rows that an earlier layer has again are left out."""
        found: dict[tuple[object, ...], Price] = {}
        for row in (row for layer in self.layers for row in layer):
            if backend in (None, row.backend):
                found.setdefault((row.backend, row.meter, row.sku, row.region, row.tier, row.unit), row)
        return list(found.values())

    def find(
        self, backend: str, meter: Meter, sku: str, *, region: str | None = None, tier: str | None = None
    ) -> Price | None:
        """Return the row for something, None where there is none.

        A row of the region comes before one that holds anywhere, that before one of another region. A tier must be
        the row's own, except that a row of a price file without a tier holds for each.
        """
        for layer in self.layers:
            fitting = [
                row
                for row in layer
                if (row.backend, row.meter, row.sku) == (backend, meter, sku)
                and (row.tier == tier or (row.tier is None and row.origin == "price file"))
            ]
            if fitting:
                return min(fitting, key=lambda row: (_distance(row.region, region), row.usd is None))
        return None


def _distance(theirs: str, wanted: str | None) -> int:
    return 0 if theirs == wanted else 1 if theirs == ANYWHERE else 2


@cache
def packaged(package: str) -> tuple[Price, ...]:
    """Return the rows of a plugin's own `prices.toml`."""
    name = "prices.toml"
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    backend = package.removeprefix("tunebridge_")
    return parse_prices(tomllib.loads(text), place=f"{package}/{name}", origin="packaged", backend=backend)


def read_prices(path: Path, origin: Origin) -> tuple[Price, ...]:
    """Read a file of prices, TOML or JSON; SpecError names the row that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text, parse_float=Decimal) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        cure = "Remove the file, or refresh it" if origin == "refreshed" else "Give a TOML or JSON file of prices"
        raise SpecError(f"The prices cannot be read: {error}. {cure}.", file=path) from None
    return parse_prices(document, place=str(path), origin=origin)


def write_prices(path: Path, rows: Sequence[Price]) -> None:
    """Write rows as a JSON file that `read_prices` reads."""
    plain = [row.model_dump(mode="json", exclude={"origin"}, exclude_none=True) for row in rows]
    for row, price in zip(plain, rows, strict=True):
        row["usd"] = None if price.usd is None else str(price.usd)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"prices": [{"rows": plain}]}, indent=1) + "\n", encoding="utf-8")


def parse_prices(
    document: Mapping[str, Any], *, place: str, origin: Origin, backend: str | None = None
) -> tuple[Price, ...]:
    """Return the rows of a parsed file; `backend` is whose they are where the file does not say."""
    rows = []
    for group in document.get("prices", ()):
        shared = {"backend": backend, **{key: value for key, value in group.items() if key != "rows"}}
        for number, row in enumerate(group.get("rows", ()), start=1):
            rows.append(_row({**shared, **row, "origin": origin}, f"{place}, row {number} of {shared['backend']}"))
    if not rows:
        raise SpecError(f"{place} has no prices. Write groups [[prices]] with rows = [...].")
    return tuple(rows)


def _row(values: Mapping[str, Any], place: str) -> Price:
    try:
        return Price.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"][:1])
        raise SpecError(f"{place}: `{key}`: {problem['msg']}. Correct the row.", key=key) from None
