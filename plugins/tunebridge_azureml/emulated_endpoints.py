"""The emulator's online endpoints and their deployments; one that is asked really runs its script over its model."""

import secrets
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunebridge.testing.serving import Servers
from tunebridge.testing.shelf import Shelf
from tunebridge.testing.wire import Refusal, Request, Response, Route
from tunebridge_azureml import emulated
from tunebridge_azureml.validation import problem_of

CREATING_SECONDS = 0.5
ENDPOINT, DEPLOYMENT = "onlineEndpoints/(?P<name>[^/]+)", "deployments/(?P<part>[^/]+)"
PART_HEADER = "azureml-model-deployment"


class Endpoints:
    """What answers; what stands lies on the shelf, the processes belong to this one."""

    def __init__(self, folder: Path, shelf: Shelf, url: Callable[[], str], places: Callable[..., list[Path]]) -> None:
        self._folder, self._shelf, self._url, self._places = folder / "endpoints", shelf, url, places
        self._servers = Servers()

    def routes(self, home: str) -> list[Route]:
        """Return the routes below a workspace, and that of the endpoints' own addresses."""
        return [
            Route("PUT", f"{home}/{ENDPOINT}", self._put),
            Route("GET", f"{home}/{ENDPOINT}", self._get),
            Route("DELETE", f"{home}/{ENDPOINT}", self._delete),
            Route("POST", f"{home}/{ENDPOINT}/listKeys", self._keys),
            Route("PUT", f"{home}/{ENDPOINT}/{DEPLOYMENT}", self._put_deployment),
            Route("GET", f"{home}/{ENDPOINT}/{DEPLOYMENT}", self._get_deployment),
            Route("GET", f"{home}/{ENDPOINT}/deployments", self._list_deployments),
            Route("POST", "/score/(?P<name>[^/]+)", self._score),
        ]

    def knows_key(self, request: Request) -> bool:
        """Whether a request to an endpoint's own address carries its key."""
        with self._shelf.opened() as state:
            found = state["endpoints"].get(request.path.split("/")[-1])
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return found is not None and secrets.compare_digest(given, found["key"])

    def _put(self, request: Request) -> Response:
        name, body = request.arguments["name"], request.json()
        _refuse(problem_of(body["properties"], "OnlineEndpointProperties"))
        if not (3 <= len(name) <= 32 and name[0].isalpha() and name.replace("-", "").isalnum()):
            _refuse(f"The endpoint name {name!r} is not valid.")
        with self._shelf.opened() as state:
            kept = state["endpoints"].setdefault(name, {"key": secrets.token_hex(16), "parts": {}})
            kept["asked"] = body
            return Response(self._endpoint(name, kept), status=201)

    def _get(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            return Response(self._endpoint(request.arguments["name"], _known(state, request)))

    def _delete(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            _known(state, request)
            del state["endpoints"][request.arguments["name"]]
        self._servers.end(request.arguments["name"])
        return Response(status=200)

    def _keys(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            key = _known(state, request)["key"]
        return Response({"primaryKey": key, "secondaryKey": key})

    def _put_deployment(self, request: Request) -> Response:
        body = request.json()
        _refuse(problem_of(body["properties"], "OnlineDeploymentProperties"))
        with self._shelf.opened() as state:
            parts = _known(state, request)["parts"]
            parts[request.arguments["part"]] = {"asked": body, "created": time.time()}
            return Response(_deployment(request.arguments, parts[request.arguments["part"]]), status=201)

    def _get_deployment(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            found = _known(state, request)["parts"].get(request.arguments["part"])
        if found is None:
            raise Refusal(emulated.error(404, "ResourceNotFound", "The deployment was not found."))
        return Response(_deployment(request.arguments, found))

    def _list_deployments(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            parts = _known(state, request)["parts"]
        rows = [_deployment({**request.arguments, "part": part}, found) for part, found in parts.items()]
        return Response({"value": rows, "nextLink": None})

    def _score(self, request: Request) -> Response:
        name = request.arguments["name"]
        with self._shelf.opened() as state:
            found = _known(state, request)["parts"].get(request.headers.get(PART_HEADER, ""))
        if found is None or not _is_ready(found):
            raise Refusal(Response({"message": "No deployment is ready."}, status=404))
        asked = found["asked"]["properties"]
        code, model = self._places(asked["codeConfiguration"]["codeId"], asked["model"])
        program = Path(__file__).with_name("hosting.py")
        command = [sys.executable, "-P", str(program), str(code), str(model)]
        said = self._servers.ask(name, command, self._folder / f"{name}.log", request.json())
        if "error" in said:  # the inference server's own word for a script that raised
            raise Refusal(Response({"message": said["error"]}, status=424))
        return Response(said["ok"])

    def _endpoint(self, name: str, kept: Mapping[str, Any]) -> dict[str, Any]:
        state = {"provisioningState": "Succeeded", "scoringUri": f"{self._url()}/score/{name}"}
        asked = kept["asked"]
        found = emulated.resource(f"onlineEndpoints/{name}", {**asked["properties"], **state})
        return {**found, "location": asked["location"], "tags": asked.get("tags") or {}}


def _refuse(problem: str | None) -> None:
    if problem:
        raise Refusal(emulated.error(400, "UserError", problem))


def _known(state: Mapping[str, Any], request: Request) -> dict[str, Any]:
    found: dict[str, Any] | None = state["endpoints"].get(request.arguments["name"])
    if found is None:
        raise Refusal(emulated.error(404, "ResourceNotFound", "The endpoint was not found."))
    return found


def _is_ready(found: Mapping[str, Any]) -> bool:
    return time.time() - float(found["created"]) > CREATING_SECONDS


def _deployment(names: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, Any]:
    word = "Succeeded" if _is_ready(found) else "Creating"
    asked = found["asked"]
    path = f"onlineEndpoints/{names['name']}/deployments/{names['part']}"
    made = emulated.resource(
        path, {"scaleSettings": {"scaleType": "Default"}, **asked["properties"], "provisioningState": word}
    )
    return {**made, "location": asked["location"], "sku": asked.get("sku")}
