"""Today's prices of virtual machines from Azure's public list, which asks for no key.

https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
"""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from tunebridge.cost.price import Price
from tunebridge.errors import ServiceUnavailable

ADDRESS = "https://prices.azure.com/api/retail/prices"
LEFT_OUT = ("Spot", "Low Priority")
"""In a meter's name: capacity that may be taken away."""
TIMEOUT_SECONDS = 60.0
MOST_PAGES = 50


def list_prices(machines: Sequence[tuple[str, str]], today: date, address: str = ADDRESS) -> list[Price]:
    """Return the hourly price of each (machine, region) that the list has, on demand and under Linux."""
    found = []
    for machine, region in machines:
        items = [item for item in _items(address, machine, region) if _is_meant(item)]
        found += [_row(item, machine, region, today) for item in items[:1]]
    return found


def _items(address: str, machine: str, region: str) -> Iterator[Mapping[str, Any]]:
    wanted = {"serviceName": "Virtual Machines", "priceType": "Consumption", "armRegionName": region}
    terms = " and ".join(f"{name} eq '{value}'" for name, value in {**wanted, "armSkuName": machine}.items())
    page: str | None = f"{address}?{urllib.parse.urlencode({'currencyCode': 'USD', '$filter': terms})}"
    for _ in range(MOST_PAGES):
        if page is None:
            return
        answer = _ask(page)
        yield from answer["Items"]
        following = answer.get("NextPageLink")
        is_same_host = urllib.parse.urlsplit(following or "").hostname == urllib.parse.urlsplit(address).hostname
        page = following if is_same_host else None


def _ask(address: str) -> Mapping[str, Any]:
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answered:
            found: dict[str, Any] = json.loads(answered.read())
            return found
    except Exception as error:  # no network, no JSON, or an answer that says no
        reason = (
            f"the price list does not answer ({type(error).__name__}). Try again later; packaged prices still count."
        )
        raise ServiceUnavailable(reason, backend="azureml", operation="prices") from None


def _is_meant(item: Mapping[str, Any]) -> bool:
    names = f"{item.get('productName')} {item.get('meterName')} {item.get('skuName')}"
    is_plain = "Windows" not in names and not any(word in names for word in LEFT_OUT)
    return is_plain and item.get("unitOfMeasure") == "1 Hour" and item.get("currencyCode") == "USD"


def _row(item: Mapping[str, Any], machine: str, region: str, today: date) -> Price:
    values = {"backend": "azureml", "meter": "training", "sku": machine, "region": region, "unit": "hour"}
    told = {"usd": repr(item["retailPrice"]), "source_url": ADDRESS, "as_of": today, "confidence": "high"}
    note = f"{item.get('productName')}, in effect since {str(item.get('effectiveStartDate'))[:10]}"
    return Price.model_validate({**values, **told, "note": note})
