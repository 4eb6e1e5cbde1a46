"""Refreshed prices: what is believed, what is told, and what counts afterwards."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fakes import fake_client
from tunebridge.client import Client
from tunebridge.cost.price import Price, PriceBook
from tunebridge.cost.refresh import checked
from tunebridge.errors import ServiceUnavailable, UnsupportedFeature

TODAY = date(2026, 11, 25)


def price(usd: str, **values: object) -> Price:
    known = {"backend": "b", "meter": "training", "sku": "m", "unit": "hour", "source_url": "s", "as_of": TODAY}
    return Price.model_validate({**known, "confidence": "high", "usd": usd, **values})


KNOWN = PriceBook([[price("2")]])


@pytest.mark.parametrize(
    ("row", "kept", "changed", "says"),
    [
        (price("2"), 1, 0, None),
        (price("3"), 1, 1, None),
        (price("4.01"), 1, 1, "is 4.01 USD, and was 2 on 2026-11-25"),
        (price("0.9"), 1, 1, "Compare it"),
        (price("2", unit="1M tokens"), 0, 0, "left out"),
        (price("9", sku="another"), 1, 0, None),
    ],
)
def test_what_is_believed(row: Price, kept: int, changed: int, says: str | None) -> None:
    made = checked("b", [row], KNOWN)
    assert (len(made.rows), made.changed) == (kept, changed)
    assert not made.warnings if says is None else says in made.warnings[0]


def test_reading_never_costs_more_than_writing() -> None:
    rows = [price("5.5", meter="input", unit="1M tokens"), price("0.6", meter="output", unit="1M tokens")]
    assert "which no vendor means" in checked("b", rows, KNOWN).warnings[0]


def test_a_backend_without_a_list_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFeature, match="prices refresh"):
        fake_client(tmp_path).costs.refresh("fake")


def refreshed_client(tmp_path: Path, backend: object, name: str) -> Client:
    client = Client(tmp_path / "store")
    client._backends[name] = backend  # type: ignore[assignment]
    return client


def test_azures_list_counts_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography")
    from tunebridge_azureml.backend import AzureMLBackend
    from tunebridge_azureml.emulator import Emulator

    emulator = Emulator(tmp_path / "account").start()
    monkeypatch.setenv("SSL_CERT_FILE", str(emulator.authority))
    backend = AzureMLBackend(price_list=f"{emulator.url}/api/retail/prices")
    client = refreshed_client(tmp_path, backend, "azureml")
    made = client.costs.refresh("azureml")
    assert {row.sku: row.usd for row in made.rows} == {
        "Standard_NC24ads_A100_v4": Decimal("3.673"),
        "Standard_NC40ads_H100_v5": Decimal("27.92"),
    }
    assert (made.changed, len(made.warnings)) == (1, 1)
    found = client.costs.book().find("azureml", "training", "Standard_NC40ads_H100_v5", region="eastus")
    assert found is not None
    assert (found.usd, found.origin, found.as_of) == (Decimal("27.92"), "refreshed", date.today())
    assert "token" not in json.dumps(made.model_dump(mode="json"))
    emulator.wire.stop()
    with pytest.raises(ServiceUnavailable, match="packaged prices still count"):
        client.costs.refresh("azureml")


def test_the_hubs_list_counts_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    from tunebridge_huggingface.conformance import connected
    from tunebridge_huggingface.emulator import Emulator

    emulator = Emulator(tmp_path / "account").start()
    client = refreshed_client(tmp_path, connected(emulator), "huggingface")
    made = client.costs.refresh("huggingface")
    assert made.rows
    assert {row.origin for row in client.costs.book().rows("huggingface")} >= {"refreshed"}
    emulator.wire.stop()
