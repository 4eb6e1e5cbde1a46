"""Price rows: what is packaged is sane and sourced, the right layer decides, ages are told, no currency is mixed in."""

import json
from datetime import date, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path

import pytest

from tunebridge.cost.price import Price, PriceBook, packaged, parse_prices, read_prices, write_prices
from tunebridge.errors import SpecError

PACKAGES = ["azureml", "bedrock", "gradient", "huggingface", "local", "openai", "sagemaker", "vertexai"]
TODAY = date(2026, 11, 25)
ROWS = list(chain.from_iterable(packaged(f"tunebridge_{name}") for name in PACKAGES))


def row(**change: object) -> Price:
    values = {"backend": "b", "meter": "training", "sku": "m", "unit": "1M tokens", "usd": "2", "confidence": "high"}
    return Price.model_validate({**values, "source_url": "https://a.invalid", "as_of": TODAY, **change})


@pytest.mark.parametrize("name", PACKAGES)
def test_every_packaged_row_has_a_source_a_date_and_a_place_of_its_own(name: str) -> None:
    rows = packaged(f"tunebridge_{name}")
    places = [(one.meter, one.sku, one.region, one.tier, one.unit) for one in rows]
    assert len(set(places)) == len(places)
    for one in rows:
        assert one.backend == name
        assert one.source_url
        assert date(2025, 1, 1) <= one.as_of <= TODAY
        assert (one.usd is None) == (one.confidence == "none") or one.usd is None
        assert one.usd is not None or one.sku


def test_a_tuned_model_never_writes_for_less_than_it_reads() -> None:
    prices = {(one.backend, one.meter, one.sku, one.tier): one.usd for one in ROWS if one.usd is not None}
    for (backend, meter, sku, tier), usd in prices.items():
        if meter == "input":
            assert usd <= prices[backend, "output", sku, tier]


def test_tiers_of_one_model_cost_about_the_same() -> None:
    trained = [one for one in ROWS if one.backend == "openai" and one.meter == "training" and one.usd]
    for one in trained:
        for other in trained:
            azure = (one.tier or "").startswith("azure") and (other.tier or "").startswith("azure")
            if azure and (one.sku, one.unit) == (other.sku, other.unit):
                assert one.usd
                assert other.usd
                assert Decimal("0.3") <= one.usd / other.usd <= 3


def test_the_users_prices_come_first_then_refreshed_then_packaged_ones() -> None:
    own, refreshed, old = row(usd="1", origin="price file"), row(usd="3", origin="refreshed"), row(usd="9")
    for layers, wanted in (([[own], [refreshed], [old]], "1"), ([[refreshed], [old]], "3"), ([[old]], "9")):
        found = PriceBook(layers).find("b", "training", "m")
        assert found
        assert found.usd == Decimal(wanted)
        assert [one.usd for one in PriceBook(layers).rows("b")] == [Decimal(wanted)]


def test_the_region_of_the_job_decides_and_a_tier_is_never_another_one() -> None:
    book = PriceBook([[row(region="eu", usd="5"), row(usd="4"), row(region="us", usd="3"), row(tier="t", usd="1")]])
    found = [book.find("b", "training", "m", region=region) for region in ("eu", "us", "elsewhere")]
    assert [one.usd for one in found if one] == [5, 3, 4]
    tiered = book.find("b", "training", "m", tier="t")
    assert tiered
    assert tiered.usd == 1
    assert book.find("b", "training", "m", tier="other") is None
    contract = PriceBook([[row(usd="2", origin="price file")]]).find("b", "training", "m", tier="other")
    assert contract


@pytest.mark.parametrize(("days", "word"), [(0, "fresh"), (30, "fresh"), (31, "aged"), (90, "aged"), (91, "STALE")])
def test_rows_age(days: int, word: str) -> None:
    assert row(as_of=TODAY - timedelta(days=days)).freshness(TODAY) == word


def test_a_price_in_another_currency_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        '[[prices]]\nbackend = "b"\nsource_url = "contract"\nas_of = 2026-11-01\nconfidence = "high"\n'
        'rows = [{ meter = "training", sku = "m", unit = "hour", usd = "1", currency = "EUR" }]\n'
    )
    with pytest.raises(SpecError, match="row 1 of b: `currency`"):
        read_prices(file, "price file")


@pytest.mark.parametrize(
    ("change", "key"), [({"usd": "-1"}, "usd"), ({"unit": "token"}, "unit"), ({"as_of": "soon"}, "as_of")]
)
def test_a_wrong_row_is_named(change: dict[str, str], key: str) -> None:
    values = row().model_dump(mode="json", exclude={"origin"}) | change
    with pytest.raises(SpecError, match=f"`{key}`"):
        parse_prices({"prices": [{"rows": [values]}]}, place="here", origin="refreshed")


def test_written_rows_are_read_as_they_were(tmp_path: Path) -> None:
    rows = [row(usd="0.1"), row(sku="n", usd=None, confidence="none"), row(sku="o", region="eu", tier="t")]
    file = tmp_path / "prices" / "b.json"
    write_prices(file, rows)
    read = read_prices(file, "refreshed")
    assert [one.model_copy(update={"origin": "packaged"}) for one in read] == rows
    assert json.loads(file.read_text())["prices"]


def test_a_number_in_json_is_read_digit_by_digit(tmp_path: Path) -> None:
    values = row().model_dump(mode="json", exclude={"origin", "usd"})
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"prices": [{"rows": [{**values, "usd": 9.79655057}]}]}))
    assert read_prices(file, "price file")[0].usd == Decimal("9.79655057")
