"""Gradient.AI on 127.0.0.1: base models, adapters, training calls and answers, with a model that is really trained."""

import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunebridge.testing.shelf import Faults, Shelf
from tunebridge.testing.wire import Refusal, Request, Response, Route, Wire
from tunebridge_gradient.tuner import Tuner
from tunebridge_gradient.validation import COMPLETE, CREATE, FINE_TUNE, problem

WORKSPACE = "rehearsal_workspace"
BASE_MODEL = "nano"
BASE_ID = f"{uuid.UUID(int=1)}_base_ml_model"
MODEL = "/api/models/(?P<id>[^/]+)"


def error(status: int, kind: str, message: str) -> Response:
    """Return an error as the service words it, as far as the package shows."""
    return Response({"type": kind, "message": message}, status=status)


FAULT_RESPONSES = {
    "bad_credentials": error(401, "failed", "unauthorized"),
    "quota": error(402, "failed", "payment required"),
    "rate_limited": error(429, "failed", "too many requests"),
    "sdk_error": Response({"strange": True}, status=418),
    "unavailable_before": error(503, "failed", "unavailable"),
    "unavailable_after": error(504, "failed", "timed out"),
}


class Emulator:
    """One workspace of the service; everything it knows lies in its folder."""

    def __init__(self, folder: Path) -> None:
        self._shelf = Shelf(folder, empty={"adapters": {}, "token": secrets.token_urlsafe(24)})
        self.folder, self.faults, self._tuner = folder, Faults(self._shelf), Tuner(folder / "adapters")
        with self._shelf.opened() as state:
            self.token: str = state["token"]
        self.wire = Wire(self._routes(), authorise=self._authorise, faults=self.faults, fault_responses=FAULT_RESPONSES)

    def start(self) -> "Emulator":
        """Begin to answer."""
        self.wire.start()
        return self

    @property
    def host(self) -> str:
        """Address to give the SDK as host."""
        return f"{self.wire.url}/api"

    def adapters(self) -> dict[str, dict[str, Any]]:
        """Return every adapter by id, as the workspace has it on disk."""
        with self._shelf.opened() as state:
            return dict(state["adapters"])

    def _routes(self) -> list[Route]:
        return [
            Route("GET", "/api/models", self._list),
            Route("POST", "/api/models", self._create, creates=True),
            Route("GET", MODEL, self._get),
            Route("DELETE", MODEL, self._delete),
            Route("POST", f"{MODEL}/fine-tune", self._fine_tune),
            Route("POST", f"{MODEL}/complete", self._complete),
        ]

    def _authorise(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given, f"Bearer {self.token}"):
            return FAULT_RESPONSES["bad_credentials"]
        if request.headers.get("x-gradient-workspace-id") != WORKSPACE:
            return error(403, "failed", "another workspace")
        return None

    def _list(self, request: Request) -> Response:
        base = {"type": "baseModel", "id": BASE_ID, "name": "Nano", "slug": BASE_MODEL}
        models: list[dict[str, Any]] = [{**base, "capabilities": ["fineTune", "complete"]}]
        if request.query.get("onlyBase") != "True":
            models += [_public(adapter) for adapter in self.adapters().values()]
        return Response({"models": models})

    def _create(self, request: Request) -> Response:
        asked = _checked(request, CREATE)
        if asked["model"]["baseModelId"] != BASE_ID:
            raise Refusal(error(400, "unknownBaseModel", "there is no such base model"))
        knobs = asked.get("initialHyperparameters") or {}
        identifier = f"{uuid.uuid4()}_model_adapter"
        with self._shelf.opened() as state:
            state["adapters"][identifier] = {
                "id": identifier,
                "name": asked["model"]["name"],
                "rank": (knobs.get("loraHyperparameters") or {}).get("rank"),
                "learning_rate": (knobs.get("trainingArguments") or {}).get("learningRate"),
                "calls": 0,
                "at": datetime.now(UTC).isoformat(),
            }
        return Response({"id": identifier})

    def _get(self, request: Request) -> Response:
        if self.faults.takes("sdk_error"):
            raise Refusal(FAULT_RESPONSES["sdk_error"])
        return Response(_public(self._known(request)))

    def _delete(self, request: Request) -> Response:
        adapter = self._known(request)
        with self._shelf.opened() as state:
            del state["adapters"][adapter["id"]]
        return Response(None, status=204)

    def _fine_tune(self, request: Request) -> Response:
        """Train in the call, as the service does; what a lost answer applied stays applied."""
        asked, adapter = _checked(request, FINE_TUNE), self._known(request)
        if self.faults.takes("job_fails"):
            raise Refusal(error(400, "nanLoss", "the loss is not a number"))
        if self.faults.takes("chunk_limited"):
            raise Refusal(FAULT_RESPONSES["rate_limited"])
        tokens, total = self._tuner.step(adapter, asked["samples"])
        with self._shelf.opened() as state:
            state["adapters"][adapter["id"]]["calls"] += 1
        if self.faults.takes("chunk_lost"):
            raise Refusal(FAULT_RESPONSES["unavailable_after"])
        return Response({"numberOfTrainableTokens": tokens, "sumLoss": total})

    def _complete(self, request: Request) -> Response:
        asked = _checked(request, COMPLETE)
        adapter = None if request.arguments["id"] == BASE_ID else self._known(request)
        most = asked.get("maxGeneratedTokenCount") or 128
        ended, text = self._tuner.complete(adapter, asked["query"], most, asked.get("temperature") or 0.0)
        return Response({"finishReason": ended, "generatedOutput": text})

    def _known(self, request: Request) -> dict[str, Any]:
        found = self.adapters().get(request.arguments["id"])
        if found is None:
            raise Refusal(error(404, "unknownModelAdapter", "there is no such adapter"))
        return found


def _checked(request: Request, keys: Mapping[str, Any]) -> dict[str, Any]:
    asked = request.json()
    if wrong := problem(asked, keys):
        raise Refusal(error(400, "bodyParsingError", wrong))
    checked: dict[str, Any] = asked
    return checked


def _public(adapter: Mapping[str, Any]) -> dict[str, Any]:
    known = {"type": "modelAdapter", "id": adapter["id"], "baseModelId": BASE_ID, "name": adapter["name"]}
    return {**known, "latestUpdateTime": adapter["at"]}
