"""OpenAI's dialect on 127.0.0.1: files, uploads, fine-tuning jobs, models and chat completions, with real training.

Answers under `/v1` and `/openai/v1` (a bearer key) and under `/openai` (`api-key` and `api-version`, Azure's older
style). Requests are validated against the installed SDK's own parameter types and the service's bounds, uploaded
rows line by line and only after the job was accepted, as the service does.
"""

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

from tunebridge.backend import GenerationParameters
from tunebridge.data.example import Message
from tunebridge.errors import TuneBridgeError
from tunebridge.testing.shelf import Faults, Shelf, take
from tunebridge.testing.wire import Refusal, Request, Response, Route, Wire, page
from tunebridge.testing.workshop import Workshop
from tunebridge_openai import emulated
from tunebridge_openai.validation import Problem, problem_of_request

PREFIX = r"/(?:v1|openai/v1|openai)"
AZURE = "/openai"
"""How paths begin that are asked in the style of Azure."""
DEPLOYMENT = (
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.CognitiveServices/accounts/[^/]+"
    r"/deployments/(?P<name>[^/]+)"
)
MODELS = {"gpt-4.1-mini-2025-04-14": "2027-01-14", "gpt-4o-mini-2024-07-18": "2027-01-14"}
"""Models that are listed and the days on which they are shut down; any other base model is taken as well."""
TUNED = "ft:"
"""How the names of tuned models begin."""


class Emulator:
    """One account of the service; everything it knows lies in its folder."""

    def __init__(self, folder: Path) -> None:
        self._shelf = Shelf(
            folder,
            empty={"files": {}, "uploads": {}, "jobs": {}, "deployments": {}, "key": f"sk-{secrets.token_hex(16)}"},
        )
        self._folder, self._workshop, self.faults = folder, Workshop(folder), Faults(self._shelf)
        with self._shelf.opened() as state:
            self.key: str = state["key"]
        self.wire = Wire(
            self._routes(), authorise=self._authorise, faults=self.faults, fault_responses=emulated.FAULT_RESPONSES
        )

    def start(self) -> "Emulator":
        """Begin to answer."""
        self.wire.start()
        return self

    @property
    def url(self) -> str:
        """Address to give the SDK as base_url."""
        return f"{self.wire.url}/v1"

    @property
    def azure_url(self) -> str:
        """Address to give the SDK as base_url, in the style of Azure, where tuned models have to be deployed."""
        return f"{self.wire.url}/openai/v1"

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return every job by id, as the account has it on disk."""
        with self._shelf.opened() as state:
            return dict(state["jobs"])

    def _routes(self) -> list[Route]:
        job = f"{PREFIX}/fine_tuning/jobs/(?P<id>[^/]+)"
        return [
            Route("POST", f"{PREFIX}/files", self._add_file),
            Route("GET", f"{PREFIX}/files", self._list_files),
            Route("GET", f"{PREFIX}/files/(?P<id>[^/]+)", self._get_file),
            Route("DELETE", f"{PREFIX}/files/(?P<id>[^/]+)", self._delete_file),
            Route("GET", f"{PREFIX}/files/(?P<id>[^/]+)/content", self._file_content),
            Route("POST", f"{PREFIX}/uploads", self._begin_upload),
            Route("POST", f"{PREFIX}/uploads/(?P<id>[^/]+)/parts", self._add_part),
            Route("POST", f"{PREFIX}/uploads/(?P<id>[^/]+)/complete", self._complete_upload),
            Route("POST", f"{PREFIX}/fine_tuning/jobs", self._create_job, creates=True),
            Route("GET", f"{PREFIX}/fine_tuning/jobs", self._list_jobs),
            Route("GET", job, self._get_job),
            Route("POST", f"{job}/(?P<verb>cancel|pause|resume)", self._act),
            Route("GET", f"{job}/events", self._list_events),
            Route("GET", f"{job}/checkpoints", self._list_checkpoints),
            Route("GET", f"{PREFIX}/models", self._list_models),
            Route("DELETE", f"{PREFIX}/models/(?P<id>[^/]+)", self._delete_model),
            Route("PUT", DEPLOYMENT, self._put_deployment),
            Route("GET", DEPLOYMENT, self._get_deployment),
            Route("DELETE", DEPLOYMENT, self._delete_deployment),
            Route("POST", f"{PREFIX}/(?:deployments/[^/]+/)?chat/completions", self._answer),
        ]

    def _authorise(self, request: Request) -> Response | None:
        given = request.headers.get("api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if secrets.compare_digest(given, self.key):
            return None
        return emulated.error(401, "Incorrect API key provided.", code="invalid_api_key")

    # ---- files

    def _add_file(self, request: Request) -> Response:
        form = request.form()
        if "file" not in form or form.get("purpose") is None or form["purpose"].text != "fine-tune":
            raise Refusal(emulated.error(400, "a file and the purpose fine-tune are needed", param="purpose"))
        return Response(self._keep_file(form["file"].filename or "file", form["file"].content))

    def _keep_file(self, name: str, content: bytes) -> dict[str, Any]:
        with self._shelf.opened() as state:
            identifier = f"file-{hashlib.sha256(content).hexdigest()[:12]}{len(state['files']):04d}"
            record = emulated.file_record(identifier, name, len(content))
            state["files"][identifier] = record
        path = self._content_path(identifier)
        path.touch(mode=0o600)
        path.write_bytes(content)
        return record

    def _content_path(self, identifier: str) -> Path:
        return self._folder / f"{identifier}.content"

    def _list_files(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            files = [f for f in state["files"].values() if request.query.get("purpose") in (None, f["purpose"])]
        return _listing(request, files, default_limit=10_000)

    def _get_file(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            return Response(_known(state["files"], request.arguments["id"], "file"))

    def _delete_file(self, request: Request) -> Response:
        identifier = request.arguments["id"]
        with self._shelf.opened() as state:
            _known(state["files"], identifier, "file")
            del state["files"][identifier]
        self._content_path(identifier).unlink()
        return Response({"id": identifier, "object": "file", "deleted": True})

    def _file_content(self, request: Request) -> Response:
        self._get_file(request)
        content = self._content_path(request.arguments["id"]).read_bytes()
        return Response(content, content_type="application/octet-stream")

    def _begin_upload(self, request: Request) -> Response:
        asked = request.json()
        with self._shelf.opened() as state:
            identifier = f"upload_{len(state['uploads']):06d}"
            record = emulated.upload_record(identifier, asked)
            state["uploads"][identifier] = {**record, "parts": []}
        return Response(record)

    def _add_part(self, request: Request) -> Response:
        content = request.form()["data"].content
        with self._shelf.opened() as state:
            upload = _known(state["uploads"], request.arguments["id"], "upload")
            part = f"part_{request.arguments['id']}_{secrets.token_hex(4)}"
            path = self._content_path(part)
            path.touch(mode=0o600)
            path.write_bytes(content)
            upload["parts"].append(part)
        record = {"id": part, "created_at": emulated.now(), "object": "upload.part", "upload_id": upload["id"]}
        return Response(record)

    def _complete_upload(self, request: Request) -> Response:
        wanted = request.json()["part_ids"]
        with self._shelf.opened() as state:
            upload = dict(_known(state["uploads"], request.arguments["id"], "upload"))
        if sorted(wanted) != sorted(upload["parts"]):
            raise Refusal(emulated.error(400, "the parts are not those of the upload", param="part_ids"))
        content = b"".join(self._content_path(part).read_bytes() for part in wanted)
        if len(content) != upload["bytes"]:
            raise Refusal(emulated.error(400, f"{len(content)} bytes came, {upload['bytes']} were announced"))
        for part in wanted:
            self._content_path(part).unlink()
        file = self._keep_file(upload["filename"], content)
        return Response({**upload, "status": "completed", "file": file})

    # ---- jobs

    def _create_job(self, request: Request) -> Response:
        asked = request.json()
        with self._shelf.opened() as state:
            problem = problem_of_request(asked, files=state["files"]) or _problem_of_model(asked["model"], state)
            if problem:
                raise Refusal(emulated.error(400, problem.message, param=problem.param))
            identifier = f"ftjob-{secrets.token_hex(12)}"
            state["jobs"][identifier] = emulated.job_record(identifier, asked)
            return Response(emulated.public(state["jobs"][identifier]))

    def _list_jobs(self, request: Request) -> Response:
        wanted = {k[9:-1]: v for k, v in request.query.items() if k.startswith("metadata[")}
        with self._shelf.opened() as state:
            found = [j for j in state["jobs"].values() if wanted.items() <= (j["metadata"] or {}).items()]
        return _listing(request, [emulated.public(job) for job in reversed(found)])

    def _get_job(self, request: Request) -> Response:
        job = self._moved(request.arguments["id"])
        with self._shelf.opened() as state:
            odd = take(state, "unknown_word")
        return Response(emulated.public({**job, "status": "pondering"} if odd else job))

    def _moved(self, identifier: str) -> dict[str, Any]:
        """Return a job after a moment has passed: rows are read, the workshop is asked, results are kept."""
        with self._shelf.opened() as state:
            job = _known(state["jobs"], identifier, "job")
            if take(state, "sdk_error"):
                raise Refusal(Response({"strange": True}, status=418))
            if job["status"] == "running" and take(state, "job_fails"):
                job["broken"] = True
        moved = emulated.move(dict(job), self._workshop, self._content_path)
        if "result" in moved:
            name = f"step_metrics-{identifier}.csv"
            file = {**self._keep_file(name, moved.pop("result").encode()), "purpose": "fine-tune-results"}
            moved["result_files"] = [file["id"]]
        with self._shelf.opened() as state:
            if state["jobs"][identifier]["status"] == job["status"]:  # nobody else has moved it meanwhile
                state["jobs"][identifier] = moved
            return dict(state["jobs"][identifier])

    def _act(self, request: Request) -> Response:
        identifier, verb = request.arguments["id"], request.arguments["verb"]
        with self._shelf.opened() as state:
            job = dict(_known(state["jobs"], identifier, "job"))
        if job["status"] in emulated.ENDED:
            raise Refusal(emulated.error(400, f"the job has {job['status']} already and cannot {verb}"))
        changed = emulated.act(job, verb, self._workshop)
        with self._shelf.opened() as state:
            state["jobs"][identifier] = changed
        return Response(emulated.public(changed))

    def _list_events(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            job = dict(_known(state["jobs"], request.arguments["id"], "job"))
        return _listing(request, emulated.events(job, self._workshop)[::-1], default_limit=20)

    def _list_checkpoints(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            job = dict(_known(state["jobs"], request.arguments["id"], "job"))
        return _listing(request, emulated.checkpoints(job, self._workshop), default_limit=10)

    # ---- models

    def _list_models(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            known = {**MODELS, **dict.fromkeys(_tuned(state))}
        return Response({"object": "list", "data": [emulated.model_record(*model) for model in known.items()]})

    def _delete_model(self, request: Request) -> Response:
        name = request.arguments["id"]
        with self._shelf.opened() as state:
            for job in state["jobs"].values():
                if job["fine_tuned_model"] == name:
                    job["fine_tuned_model"] = None
                    return Response({"id": name, "object": "model", "deleted": True})
        raise Refusal(emulated.error(404, f"The model '{name}' does not exist", code="model_not_found"))

    # ---- deployments

    def _put_deployment(self, request: Request) -> Response:
        asked, name = request.json(), request.arguments["name"]
        model = asked.get("properties", {}).get("model", {})
        with self._shelf.opened() as state:
            if problem := emulated.problem_of_deployment(request.query, asked, _tuned(state)):
                raise Refusal(emulated.error(400, problem, code="InvalidResourceProperties"))
            state["deployments"][name] = emulated.deployment_record(name, asked["sku"], model)
            return Response(state["deployments"][name], status=201)

    def _get_deployment(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            found = _known(state["deployments"], request.arguments["name"], "deployment")
            shown = json.loads(json.dumps(found))
            found["properties"]["provisioningState"] = "Succeeded"  # it is ready a moment after it was first seen
        return Response(shown)

    def _delete_deployment(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            gone = state["deployments"].pop(request.arguments["name"], None)
        return Response(status=204 if gone is None else 202)

    def _answer(self, request: Request) -> Response:
        asked = request.json()
        with self._shelf.opened() as state:
            model = _answering(asked["model"], state) if request.path.startswith(AZURE) else asked["model"]
            if problem := _problem_of_model(model, state):
                raise Refusal(emulated.error(404, problem.message, code="model_not_found"))
            workshop_id = _tuned(state).get(model)
        messages = [Message.model_validate(message) for message in asked["messages"]]
        parameters = GenerationParameters(
            max_tokens=asked.get("max_completion_tokens") or asked.get("max_tokens") or 256,
            temperature=asked.get("temperature") or 0.0,
            seed=asked.get("seed") or 0,
        )
        try:
            answer = self._workshop.answer(workshop_id, messages, parameters)
        except TuneBridgeError as error:
            raise Refusal(emulated.error(400, str(error))) from None
        return Response(emulated.completion(asked["model"], answer))


def _answering(name: str, state: dict[str, Any]) -> str:
    """Return the model of a deployment; at Azure a tuned model has no other name to be asked by."""
    found = state["deployments"].get(name)
    if found is None and name.startswith(TUNED):
        raise Refusal(emulated.error(404, "The API deployment does not exist.", code="DeploymentNotFound"))
    return str(found["properties"]["model"]["name"]) if found else name


def _tuned(state: dict[str, Any]) -> dict[str, str]:
    """Return the workshop's job by the name of the tuned model."""
    return {job["fine_tuned_model"]: job["workshop_id"] for job in state["jobs"].values() if job["fine_tuned_model"]}


def _problem_of_model(model: str, state: dict[str, Any]) -> Problem | None:
    if model.startswith(TUNED) and model not in _tuned(state):
        return Problem(f"The model '{model}' does not exist or you do not have access to it.", "model")
    return None


def _known(records: dict[str, Any], identifier: str, what: str) -> dict[str, Any]:
    if identifier not in records:
        raise Refusal(emulated.error(404, f"No such {what}: {identifier}", code="not_found"))
    found: dict[str, Any] = records[identifier]
    return found


def _listing(request: Request, rows: list[Any], *, default_limit: int = 20) -> Response:
    limit = int(request.query.get("limit", default_limit))
    shown, more = page(rows, after=request.query.get("after"), limit=limit, key=lambda row: row["id"])
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {}
    return Response({"object": "list", "data": shown, "has_more": more, **ends})
