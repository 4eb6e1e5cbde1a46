"""Vertex AI and Cloud Storage on 127.0.0.1: tuning jobs, their models, objects, tokens, with real training.

Requests are validated against Google's discovery document, uploaded rows line by line when the job starts, as the
service does. Access needs a bearer token, which the token route gives for assertions that the account's key signed.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunebridge.backend import GenerationParameters
from tunebridge.data.example import Message
from tunebridge.errors import TuneBridgeError
from tunebridge.testing.shelf import Faults, Shelf, take
from tunebridge.testing.wire import Refusal, Request, Response, Route, Wire, page
from tunebridge.testing.workshop import Workshop
from tunebridge_vertexai import emulated
from tunebridge_vertexai.account import Account
from tunebridge_vertexai.machines import Machines
from tunebridge_vertexai.storage import Storage
from tunebridge_vertexai.tuning import WEIGHTS
from tunebridge_vertexai.validation import camel, problem, problem_of_labels

PLACE = "/v1beta1/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)"
JOB = f"{PLACE}/tuningJobs/(?P<id>[^/:]+)"


class Emulator:
    """One project of the service; everything it knows lies in its folder."""

    def __init__(self, folder: Path) -> None:
        self._shelf = Shelf(folder, empty={"jobs": {}, "custom_jobs": {}})
        self._workshop, self.faults = Workshop(folder), Faults(self._shelf)
        self.storage, self.account = Storage(folder / "objects"), Account(folder)
        machines = Machines(self._shelf, folder / "objects")
        self.wire = Wire(
            [*self._routes(), *machines.routes(), *self.storage.routes()],
            authorise=self._authorise,
            faults=self.faults,
            fault_responses=emulated.FAULT_RESPONSES,
        )

    def start(self) -> "Emulator":
        """Begin to answer."""
        self.wire.start()
        return self

    def key_file(self) -> Path:
        """Return the file of a service account's key whose tokens come from this emulator, as ADC takes it."""
        return self.account.key_file(f"{self.wire.url}/token")

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return every job of either kind by its resource name, as the project has it on disk."""
        with self._shelf.opened() as state:
            return {**state["jobs"], **state["custom_jobs"]}

    def _routes(self) -> list[Route]:
        return [
            Route("POST", "/token", self._token),
            Route("POST", f"{PLACE}/tuningJobs", self._create, creates=True),
            Route("GET", f"{PLACE}/tuningJobs", self._list),
            Route("GET", JOB, self._get),
            Route("POST", f"{JOB}:cancel", self._cancel),
            Route(
                "POST", f"{PLACE}/(?P<model>(?:endpoints|publishers/google/models)/[^/:]+):generateContent", self._ask
            ),
        ]

    def _authorise(self, request: Request) -> Response | None:
        if request.path == "/token" or self.account.knows(request.headers.get("authorization", "")):
            return None
        return emulated.error(401, "Request had invalid authentication credentials.")

    def _token(self, request: Request) -> Response:
        if self.faults.takes("expired_key") or not self.account.signed(request.body.decode()):
            return Response({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, status=400)
        return Response({"access_token": self.account.token, "expires_in": 3600, "token_type": "Bearer"})

    # ---- tuning jobs

    def _create(self, request: Request) -> Response:
        asked = request.json()
        wrong = problem(asked, "TuningJob") or problem_of_labels(asked.get("labels") or {})
        wrong = wrong or _problem_of_job(known := camel(asked, "TuningJob"), request.arguments["location"])
        if wrong:
            raise Refusal(emulated.error(400, wrong))
        name = emulated.new_name(request.arguments["project"], request.arguments["location"])
        with self._shelf.opened() as state:
            state["jobs"][name] = emulated.job_record(name, known)
            return Response(emulated.public(state["jobs"][name]))

    def _list(self, request: Request) -> Response:
        parent = request.path.removeprefix("/v1beta1/")
        with self._shelf.opened() as state:
            found = [emulated.public(job) for name, job in state["jobs"].items() if name.startswith(parent)][::-1]
        limit = int(request.query.get("pageSize") or 100)
        shown, more = page(found, after=request.query.get("pageToken"), limit=limit, key=lambda job: job["name"])
        return Response({"tuningJobs": shown, **({"nextPageToken": shown[-1]["name"]} if more else {})})

    def _get(self, request: Request) -> Response:
        job = self._moved(_name(request))
        with self._shelf.opened() as state:
            odd = take(state, "unknown_word")
        return Response(emulated.public({**job, "state": "JOB_STATE_PONDERING"} if odd else job))

    def _moved(self, name: str) -> dict[str, Any]:
        """Return a job after a moment has passed: rows are read, the workshop is asked, weights are written."""
        with self._shelf.opened() as state:
            job = _known(state["jobs"], name)
            if take(state, "sdk_error"):
                raise Refusal(Response({"strange": True}, status=418))
            if job["state"] == "JOB_STATE_RUNNING":
                job["broken"] = take(state, "job_fails")
                job["partial"] = job.get("partial") or take(state, "partial")
        moved = emulated.move(dict(job), self._workshop, self.storage.read)
        if moved["state"] in emulated.ENDED and moved["state"] != job["state"] and "outputUri" in moved:
            self._write_weights(moved)
        with self._shelf.opened() as state:
            if state["jobs"][name]["state"] == job["state"]:  # nobody else has moved it meanwhile
                state["jobs"][name] = moved
            return dict(state["jobs"][name])

    def _write_weights(self, job: Mapping[str, Any]) -> None:
        if job["state"].endswith("SUCCEEDED"):
            with tempfile.TemporaryDirectory() as folder:
                trained = self._workshop.download(job["workshop_id"], Path(folder))
                for name, content in emulated.files_below(trained).items():
                    self.storage.write(f"{job['outputUri'].rstrip('/')}/{WEIGHTS}/{name}", content)

    def _cancel(self, request: Request) -> Response:
        name = _name(request).removesuffix(":cancel")
        with self._shelf.opened() as state:
            job = dict(_known(state["jobs"], name))
        if job["state"] in emulated.ENDED:
            raise Refusal(emulated.error(400, f"The job is {job['state']} and cannot be cancelled."))
        changed = emulated.cancelled(job, self._workshop)
        with self._shelf.opened() as state:
            state["jobs"][name] = changed
        return Response({})

    # ---- models

    def _ask(self, request: Request) -> Response:
        asked = request.json()
        turns = _turns(asked)
        knobs = asked.get("generationConfig") or {}
        parameters = GenerationParameters(
            max_tokens=knobs.get("maxOutputTokens") or 256,
            temperature=knobs.get("temperature") or 0.0,
            seed=knobs.get("seed") or 0,
        )
        try:
            return Response(emulated.answer(self._workshop.answer(self._trained(request), turns, parameters)))
        except TuneBridgeError as refused:
            raise Refusal(emulated.error(400, str(refused))) from None

    def _trained(self, request: Request) -> str | None:
        """Return the workshop's job of an endpoint, None for a base model."""
        kind, _, identifier = request.arguments["model"].rpartition("/")
        if kind != "endpoints":
            return None
        with self._shelf.opened() as state:
            jobs = [j for name, j in state["jobs"].items() if name.endswith(f"/{identifier}") and "tunedModel" in j]
        if not jobs:
            raise Refusal(emulated.error(404, f"The Endpoint {identifier} does not exist."))
        return str(jobs[0]["workshop_id"])


def _name(request: Request) -> str:
    return request.path.removeprefix("/v1beta1/")


def _known(jobs: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in jobs:
        raise Refusal(emulated.error(404, f"TuningJob {name} is not found."))
    found: dict[str, Any] = jobs[name]
    return found


def _problem_of_job(asked: Mapping[str, Any], location: str) -> str | None:
    """Return which of the service's rules beyond the schema a job breaks."""
    if ("baseModel" in asked) == ("preTunedModel" in asked):
        return "either base_model or pre_tuned_model must be set"
    if emulated.method_of(asked) is None:
        return "this emulator trains supervised and preference tuning only"
    is_open = "@" in asked.get("baseModel", "")
    if is_open != ("outputUri" in asked):
        return "output_uri is required for open models, and only for them"
    if location == "global" and not is_open:
        return "tuning of this model is not supported in global"
    if location == "global" and "encryptionSpec" in asked:
        return "FAILED_PRECONDITION: customer-managed keys are not supported in global"
    _, spec = emulated.method_of(asked) or ("", {})
    knobs = spec.get("hyperParameters") or {}
    for only_open in ("batchSize", "learningRate"):
        if only_open in knobs and not is_open:
            return f"{only_open} is only available for open models"
    return (
        "learningRateMultiplier is only available for Gemini" if is_open and "learningRateMultiplier" in knobs else None
    )


def _turns(asked: Mapping[str, Any]) -> list[Message]:
    known = camel({"contents": asked["contents"]}, "GeminiPreferenceExample")
    system = asked.get("systemInstruction")
    turns = [{"role": "system", "parts": system["parts"]}] if system else []
    roles = {"system": "system", "user": "user", "model": "assistant"}
    return [
        Message.model_validate(
            {"role": roles[turn.get("role", "user")], "content": "\n".join(part["text"] for part in turn["parts"])}
        )
        for turn in (*turns, *known["contents"])
    ]
