"""An emulated Amazon account on 127.0.0.1: finds the operation that a request means and checks it against the model.

The service is read from the signature's scope, the operation from the target header (JSON protocol), the path (REST)
or the form (query protocol). Requests are checked strictly against botocore's service model, and so are answers: an
emulator that says what the service cannot say is found at once.
"""

import json
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from tunebridge.testing.shelf import Faults, Shelf
from tunebridge.testing.wire import Refusal, Request, Response, Route, Wire
from tunebridge_aws.buckets import Buckets
from tunebridge_aws.identity import OPERATIONS, as_xml, from_form
from tunebridge_aws.strict import problem_of

REGION = "us-east-1"
SCOPE = re.compile(r"Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
MODELS = {"sagemaker": ("sagemaker", "sagemaker-runtime"), "bedrock": ("bedrock", "bedrock-runtime"), "logs": ("logs",)}
"""Name in the signature -> service models that are signed with it."""
Operation = Callable[[dict[str, Any]], dict[str, Any]]


def refusal(code: str, message: str, *, status: int = 400, headers: Mapping[str, str] | None = None) -> Refusal:
    """Return an error as Amazon's JSON protocols word it, to be raised."""
    said = {"__type": code, "message": message}
    return Refusal(
        Response(said, status, {"x-amzn-errortype": code, "x-amzn-requestid": f"request-{code}", **(headers or {})})
    )


def fault_responses(quota_code: str) -> dict[str, Response]:
    """Return what each fault of a create call answers; services name a reached quota differently."""
    return {
        "bad_credentials": refusal(
            "UnrecognizedClientException", "The security token is invalid.", status=403
        ).response,
        "quota": refusal(quota_code, "The account-level service limit is 0 Instances.").response,
        "rate_limited": refusal("ThrottlingException", "Rate exceeded", headers={"retry-after": "0.05"}).response,
        "access_denied": refusal("AccessDeniedException", "User is not authorized: iam:PassRole", status=403).response,
        "sdk_error": strange().response,
        "unavailable_before": refusal("ServiceUnavailable", "Try again.", status=503).response,
        "unavailable_after": refusal("InternalFailure", "Something went wrong.", status=500).response,
    }


def strange() -> Refusal:
    """Return an answer that no service gives, to be raised."""
    return Refusal(Response(b"<html>strange</html>", status=418, content_type="text/html"))


class Unchecked(dict[str, Any]):
    """An answer that the service's model does not allow, on purpose."""


class Account:
    """One account in one region; everything it knows lies in its folder."""

    def __init__(
        self,
        folder: Path,
        services: Mapping[str, Mapping[str, Operation]],
        *,
        creates: str,
        quota_code: str,
        empty: Mapping[str, Any],
    ) -> None:
        keys = {"access_key": f"AKIA{secrets.token_hex(8).upper()}", "secret_key": secrets.token_hex(20)}
        self.shelf = Shelf(folder, empty={**keys, **empty})
        self.faults, self.buckets = Faults(self.shelf), Buckets(folder / "s3")
        with self.shelf.opened() as state:
            self.credentials = {
                "aws_access_key_id": state["access_key"],
                "aws_secret_access_key": state["secret_key"],
            }
        self._services, self._creates = {**OPERATIONS, **services}, creates
        self.wire = AmazonWire(self._route, self._authorise, self.faults, fault_responses(quota_code))

    def _authorise(self, request: Request) -> Response | None:
        scope = SCOPE.search(request.headers.get("authorization", ""))
        if scope and secrets.compare_digest(scope["key"], self.credentials["aws_access_key_id"]):
            return None
        return refusal("UnrecognizedClientException", "The security token is invalid.", status=403).response

    def _route(self, request: Request) -> tuple[Route, Mapping[str, str]]:
        scope = SCOPE.search(request.headers["authorization"])
        signed_for = scope["service"] if scope else ""
        if signed_for == "s3":
            return Route(request.method, "", self.buckets.answer), {}
        name, operation, asked = self._operation(signed_for, request)
        handler = self._services.get(name, {}).get(operation.name)
        if handler is None:
            raise refusal("UnknownOperationException", f"this emulator has no {operation.name}", status=404)
        known = handler
        return Route("", "", lambda _: _answered(operation, asked, known), creates=operation.name == self._creates), {}

    def _operation(self, signed_for: str, request: Request) -> tuple[str, Any, dict[str, Any]]:
        """Return the service, the operation's model and what is asked of it."""
        target = request.headers.get("x-amz-target")
        if target:
            model = service_model(MODELS[signed_for][0])
            return MODELS[signed_for][0], model.operation_model(target.partition(".")[2]), request.json()
        if signed_for in OPERATIONS:
            form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
            operation = service_model(signed_for).operation_model(form["Action"])
            return signed_for, operation, from_form(form, operation.input_shape)
        for name in MODELS.get(signed_for, ()):
            for operation, pattern in _rest_routes(name, tuple(self._services.get(name, ()))):
                match = pattern.fullmatch(request.path)
                if match and operation.http["method"] == request.method:
                    return name, operation, _rest_arguments(operation, match, request)
        raise refusal("UnknownOperationException", f"no route {request.method} {request.path}", status=404)


class AmazonWire(Wire):
    """A server whose routes are found by Amazon's protocols instead of a table of paths."""

    def __init__(self, find: Any, authorise: Any, faults: Faults, responses: Mapping[str, Response]) -> None:
        super().__init__((), authorise=authorise, faults=faults, fault_responses=responses)
        self._find = find

    def route(self, request: Request) -> tuple[Route, Mapping[str, str]]:
        """Return the handler of the operation that a request means."""
        found: tuple[Route, Mapping[str, str]] = self._find(request)
        return found


@cache
def service_model(name: str) -> Any:
    """Return botocore's model of a service."""
    import botocore.session

    return botocore.session.get_session().get_service_model(name)


def _answered(operation: Any, asked: dict[str, Any], handler: Operation) -> Response:
    if operation.input_shape is not None and (problem := problem_of(asked, operation.input_shape)):
        raise refusal("ValidationException", f"1 validation error detected: {problem}")
    answer = handler(asked)
    checks = operation.output_shape is not None and not isinstance(answer, Unchecked)
    if checks and (problem := problem_of(answer, operation.output_shape)):
        raise AssertionError(f"{operation.name} answers what the service cannot: {problem}")
    protocol = operation.service_model.metadata["protocol"]
    if protocol == "query":
        return Response(as_xml(operation.name, answer), content_type="text/xml")
    payload = (operation.output_shape.serialization if operation.output_shape is not None else {}).get("payload")
    if payload and isinstance(answer.get(payload), bytes):
        return Response(answer[payload], content_type="application/octet-stream")
    status = operation.http.get("responseCode", 200)
    as_text = protocol.startswith("rest")
    return Response(json.loads(json.dumps(answer, default=lambda value: _time(value, as_text=as_text))), status)


def _time(value: Any, *, as_text: bool) -> Any:
    if isinstance(value, datetime):
        return value.isoformat() if as_text else value.timestamp()
    raise TypeError(type(value).__name__)


@cache
def _rest_routes(service: str, names: tuple[str, ...]) -> list[tuple[Any, re.Pattern[str]]]:
    operations = [service_model(service).operation_model(name) for name in names]
    rest = [o for o in operations if o.service_model.metadata["protocol"].startswith("rest")]
    return [(o, re.compile(_path_pattern(o.http["requestUri"].partition("?")[0]))) for o in rest]


def _path_pattern(uri: str) -> str:
    return re.sub(r"\\\{(\w+)(\\\+)?\\\}", lambda m: rf"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})", re.escape(uri))


def _rest_arguments(operation: Any, match: re.Match[str], request: Request) -> dict[str, Any]:
    shape = operation.input_shape
    payload = shape.serialization.get("payload")
    blob = payload and shape.members[payload].type_name == "blob"
    asked: dict[str, Any] = {payload: request.body} if blob else request.json()
    for name, member in shape.members.items():
        place, wire_name = member.serialization.get("location"), member.serialization.get("name", name)
        if place == "uri":
            asked[name] = unquote(match[wire_name])
        elif place == "querystring" and wire_name in request.query:
            asked[name] = _typed(request.query[wire_name], member)
        elif place == "header" and wire_name.lower() in request.headers:
            asked[name] = request.headers[wire_name.lower()]
    return asked


def _typed(text: str, shape: Any) -> Any:
    return int(text) if shape.type_name in ("integer", "long") else text
