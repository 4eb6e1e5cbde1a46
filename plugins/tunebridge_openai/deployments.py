"""Deployments of tuned models at Azure OpenAI, by its resource manager; each bills by the hour while it stands."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from tunebridge.cost.price import PriceBook, packaged
from tunebridge.errors import InvalidRequest
from tunebridge.job import Deployment, Job
from tunebridge_openai import services
from tunebridge_openai.pricing import row_name
from tunebridge_openai.status import backend_error

MANAGEMENT = "https://management.azure.com"
MANAGEMENT_SCOPE = "https://management.azure.com/.default"
API_VERSION = "2024-10-01"
PLACE = ("subscription", "resource_group", "account")
SKUS = {"Standard": "Standard", "GlobalStandard": "GlobalStandard", "Developer": "developertier"}
"""Our word -> the resource manager's; the last one was seen in a sample of Microsoft's, not in a reference."""
READY = "Succeeded"
TIMEOUT_SECONDS = 60.0


class Refused(Exception):  # turned into a BackendError where it is raised
    """An answer of the resource manager that says no, with what the table of errors looks at."""

    def __init__(self, error: urllib.error.HTTPError) -> None:
        self.status_code, self.response = error.code, error
        try:
            self.body = json.loads(error.read())["error"]
        except (ValueError, KeyError, TypeError):
            self.body = {}
        self.code = self.body.get("code")
        self.request_id = error.headers.get("x-ms-request-id")
        super().__init__(f"HTTP {error.code}")


class Deployments:
    """The deployments of one resource; `token` gives an Entra token for the resource manager."""

    def __init__(self, connection: Mapping[str, Any], token: Callable[[], str], address: str = MANAGEMENT) -> None:
        missing = [f"options.openai.{name}" for name in PLACE if not connection.get(name)]
        if missing:
            raise InvalidRequest(
                f"a deployment needs to know its resource, and the job did not say: {', '.join(missing)}. "
                f"Deploy the model in Azure's portal, or submit the job again with these.",
                backend="openai",
                operation="deploy",
            )
        subscription, group, account = (connection[name] for name in PLACE)
        path = f"/subscriptions/{subscription}/resourceGroups/{group}"
        self._accounts = f"{address}{path}/providers/Microsoft.CognitiveServices/accounts/{account}"
        self._token = token
        self._sku = {"name": SKUS[connection.get("sku") or "Standard"], "capacity": connection.get("capacity") or 1}

    def create(self, name: str, model: str, maker: str) -> str:
        """Make a deployment of a tuned model and return its state."""
        properties = {"model": {"format": maker, "name": model, "version": "1"}}
        made = self._ask("PUT", name, {"sku": self._sku, "properties": properties})
        return _state(made)

    def state(self, name: str) -> str | None:
        """Return a deployment's state, None where there is none of that name."""
        found = self._ask("GET", name)
        return None if found is None else _state(found)

    def delete(self, name: str) -> None:
        """Remove a deployment; one that is gone is no error."""
        self._ask("DELETE", name)

    def _ask(self, method: str, name: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Ask once and return the answer, None where there is no such deployment."""
        try:
            headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
            address = f"{self._accounts}/deployments/{name}?api-version={API_VERSION}"
            data = json.dumps(body).encode() if body is not None else None
            request = urllib.request.Request(address, data, headers, method=method)
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answered:
                found: dict[str, Any] = json.loads(answered.read() or b"{}")
                return found
        except urllib.error.HTTPError as error:
            if error.code == 404 and method != "PUT":
                return None
            raise backend_error(Refused(error), "deploy") from None
        except Exception as error:  # no answer, or no token
            raise backend_error(error, "deploy") from None


def quoted(job: Job) -> Deployment:
    """Return what a deployment of the job's model would cost, from the dated table."""
    tier = "azure/Developer" if job.connection.get("sku") == "Developer" else "azure"
    row = PriceBook([packaged(__package__)]).find("openai", "hosting", row_name(job.base_model, "azure"), tier=tier)
    if row is None:
        return Deployment(name=job.id, price_note=f"the table has no price for models tuned from {job.base_model}")
    note = f"{row.note}; {row.told}; tokens are billed besides"
    return Deployment(name=job.id, usd_per_hour=row.usd, price_note=note)


def maker(base_model: str) -> str:
    """Return what the resource manager calls the maker of a base model."""
    known = services.hosting(base_model)
    return known.format if known else "OpenAI"


def _state(found: Mapping[str, Any] | None) -> str:
    return str(((found or {}).get("properties") or {}).get("provisioningState") or "Accepted")
