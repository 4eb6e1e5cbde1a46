"""The emulator's records in the service's own shape."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tunebridge.testing.wire import Response
from tunebridge_azureml.storage import CONTAINER

ACCOUNT = "tunebridge"
DATASTORE = "workspaceblobstore"
SUBSCRIPTION, GROUP, WORKSPACE = "00000000-0000-0000-0000-000000000001", "rehearsal", "rehearsal"
SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices"
HOME = f"{SCOPE}/workspaces/{WORKSPACE}"
LISTED = {"Standard_NC24ads_A100_v4": 3.673, "Standard_NC40ads_H100_v5": 27.92}
"""Machine -> USD an hour in the price list; the second is four times what the packaged row says."""
READ_BACK = ("2024-01-01T00:00:00Z", "emulator")


def error(status: int, code: str, message: str, **headers: str) -> Response:
    """Return an error as Azure's resource manager words it."""
    body = {"error": {"code": code, "message": message}}
    return Response(body, status=status, headers={"x-ms-request-id": f"request-{status}", **headers})


FAULT_RESPONSES = {
    "bad_credentials": error(401, "InvalidAuthenticationToken", "The access token is invalid."),
    "quota": error(400, "QuotaExceeded", "The quota of this machine type is used up."),
    "rate_limited": error(429, "TooManyRequests", "Too many requests.", **{"Retry-After": "0.05"}),
    "sdk_error": Response({"strange": True}, status=418),
    "unavailable_before": error(503, "ServiceUnavailable", "The service is not available."),
    "unavailable_after": error(504, "GatewayTimeout", "The gateway timed out."),
}


def resource(path: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resource below the workspace, such as `jobs/NAME`."""
    at, who = READ_BACK
    system = {"createdAt": at, "createdBy": who, "createdByType": "User", "lastModifiedAt": at}
    kind = "/".join(path.split("/")[::2])
    return {
        "id": f"{HOME}/{path}",
        "name": path.split("/")[-1],
        "type": f"Microsoft.MachineLearningServices/workspaces/{kind}",
        "properties": dict(properties),
        "systemData": system,
    }


def workspace(url: str) -> dict[str, Any]:
    """Return the workspace, whose data plane is this server too."""
    properties = {
        "friendlyName": WORKSPACE,
        "discoveryUrl": f"{url}/discovery",
        "workspaceId": SUBSCRIPTION,
        "provisioningState": "Succeeded",
        "mlFlowTrackingUri": f"azureml://{url.removeprefix('https://')}/mlflow/v1.0{HOME}",
    }
    kind = "Microsoft.MachineLearningServices/workspaces"
    return {"id": HOME, "name": WORKSPACE, "type": kind, "location": "rehearsal", "properties": properties}


def datastore(port: int) -> dict[str, Any]:
    """Return the workspace's blob store."""
    properties = {
        "datastoreType": "AzureBlob",
        "accountName": ACCOUNT,
        "containerName": CONTAINER,
        "endpoint": f"core.localhost:{port}",
        "protocol": "https",
        "credentials": {"credentialsType": "Sas"},
        "isDefault": True,
    }
    return resource(f"datastores/{DATASTORE}", properties)


def job(record: Mapping[str, Any], word: str) -> dict[str, Any]:
    """Return a job as it was asked for, with its state."""
    services = {"Studio": {"endpoint": "https://localhost/", "jobServiceType": "Studio"}}
    return resource(f"jobs/{record['name']}", {**record["asked"], "status": word, "services": services})


def details(record: Mapping[str, Any], word: str, logs: Mapping[str, str], reason: str | None) -> dict[str, Any]:
    """Return a job's run history."""
    return {
        "runId": record["name"],
        "target": "serverless",
        "status": word,
        "startTimeUtc": _moment(record.get("started")),
        "endTimeUtc": _moment(record.get("ended")),
        "error": {"error": {"code": "UserError", "message": reason}} if reason else None,
        "logFiles": dict(logs),
        "properties": {},
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": None,
        "warnings": None,
    }


def price_list(query: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of the public price list: the machine that is asked for in each way of buying it."""
    asked = dict(re.findall(r"(\w+) eq '([^']*)'", query.get("$filter", "")))
    machine, usd = asked.get("armSkuName", ""), LISTED.get(asked.get("armSkuName", ""))
    if usd is None or asked.get("serviceName") != "Virtual Machines":
        return {"Items": [], "NextPageLink": None, "Count": 0}
    shared = {"currencyCode": "USD", "unitOfMeasure": "1 Hour", "armRegionName": asked.get("armRegionName")}
    ways = (("Windows", "", 2.0), ("", " Spot", 0.2), ("", "", 1.0))
    items = [
        {
            **shared,
            "retailPrice": usd * factor,
            "armSkuName": machine,
            "skuName": f"{machine}{spot}",
            "meterName": f"{machine}{spot}",
            "productName": f"Virtual Machines Series {system}".strip(),
            "effectiveStartDate": "2026-11-01T00:00:00Z",
        }
        for system, spot, factor in ways
    ]
    return {"BillingCurrency": "USD", "Items": items, "NextPageLink": None, "Count": len(items)}


def _moment(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z") if seconds else None
