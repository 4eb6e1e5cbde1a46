"""Azure ML on 127.0.0.1: resource manager, run history and blob storage over TLS, with machines that really run.

One workspace. A command job's code and inputs are what was uploaded, and its command runs as a process that writes
into the container; a managed job is trained by the workshop. Jobs are validated against the installed SDK's models.
"""

import json
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunebridge.errors import TuneBridgeError
from tunebridge.job import JobStatus
from tunebridge.testing.shelf import Faults, Shelf, take
from tunebridge.testing.wire import Refusal, Request, Response, Route, Wire
from tunebridge.testing.workshop import Workshop
from tunebridge_azureml import emulated, works
from tunebridge_azureml.certificates import STORAGE_DOMAIN, server_context
from tunebridge_azureml.emulated_endpoints import Endpoints
from tunebridge_azureml.storage import CONTAINER, CONTAINERS, Storage
from tunebridge_azureml.validation import problem_of_job

LOG = "user_logs/std_log.txt"
BROKEN = "The machine stopped responding and could not be recovered."
KINDS = ("jobs", "codes", "environments", "data", "models", "endpoints")
MANAGED_WORDS = {
    JobStatus.submitting: "Queued",
    JobStatus.queued: "Queued",
    JobStatus.preparing: "Preparing",
    JobStatus.succeeded: "Completed",
    JobStatus.failed: "Failed",
    JobStatus.cancelled: "Canceled",
}
"""The workshop's status -> the service's word; any other is `Running`."""


class Emulator:
    """One workspace; everything it knows lies in its folder."""

    def __init__(self, folder: Path) -> None:
        empty: dict[str, Any] = {kind: {} for kind in KINDS} | {"token": secrets.token_hex(16)}
        self._folder, self._shelf = folder, Shelf(folder, empty=empty)
        self._workshop, self._storage, self.faults = Workshop(folder), Storage(folder), Faults(self._shelf)
        self._endpoints = Endpoints(folder, self._shelf, lambda: self.url, self._uploaded)
        context, self.authority = server_context(folder)
        with self._shelf.opened() as state:
            self.token: str = state["token"]
        self.wire = Wire(
            [*self._routes(), *self._storage.routes],
            authorise=self._authorise,
            faults=self.faults,
            fault_responses=emulated.FAULT_RESPONSES,
            tls=context,
        )

    def start(self) -> "Emulator":
        """Begin to answer, also to the names of storage accounts."""
        resolve_storage_names()
        self.wire.start()
        return self

    @property
    def url(self) -> str:
        """The resource manager's address."""
        return f"https://localhost:{self.wire.port}"

    @property
    def account(self) -> str:
        """The storage account's address."""
        return f"https://{emulated.ACCOUNT}.{STORAGE_DOMAIN}:{self.wire.port}"

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return every job by name, as the workspace has it on disk."""
        with self._shelf.opened() as state:
            return dict(state["jobs"])

    def _routes(self) -> list[Route]:
        home = (
            r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.MachineLearningServices/workspaces/[^/]+"
        )
        asset = f"{home}/(?P<kind>codes|environments|data|models)/(?P<name>[^/]+)/versions"
        return [
            Route("GET", home, lambda request: Response(emulated.workspace(self.url))),
            Route("GET", "/discovery", lambda request: Response({"api": self.url, "history": self.url})),
            Route("GET", f"{home}/datastores/[^/]+", lambda request: Response(emulated.datastore(self.wire.port))),
            Route("GET", f"{home}/datastores", lambda request: _page([emulated.datastore(self.wire.port)])),
            Route("POST", f"{home}/datastores/[^/]+/listSecrets", self._secrets),
            Route("GET", asset, self._list_versions),
            Route("POST", f"{asset}/(?P<version>[^/]+)/startPendingUpload", self._begin_upload),
            Route("PUT", f"{asset}/(?P<version>[^/]+)", self._put_asset),
            Route("GET", f"{asset}/(?P<version>[^/]+)", self._get_asset),
            Route("PUT", f"{home}/jobs/(?P<name>[^/]+)", self._put_job, creates=True),
            Route("GET", f"{home}/jobs/(?P<name>[^/]+)", self._get_job),
            Route("GET", f"{home}/jobs", self._list_jobs),
            Route("POST", f"{home}/jobs/(?P<name>[^/]+)/cancel", self._cancel),
            *self._endpoints.routes(home),
            Route("GET", f"/history/v1.0{home}/runs/(?P<name>[^/]+)/details", self._details),
        ]

    def _authorise(self, request: Request) -> Response | None:
        if re.match(f"/{CONTAINERS}(/|$)", request.path):
            known = secrets.compare_digest(request.query.get("sig", ""), self.token)
            return None if known else Response(status=403, headers={"x-ms-error-code": "AuthenticationFailed"})
        if request.path == "/discovery":  # public, also at the real service
            return None
        if request.path.startswith("/score/"):  # an endpoint has a key of its own
            return None if self._endpoints.knows_key(request) else emulated.FAULT_RESPONSES["bad_credentials"]
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return None if secrets.compare_digest(given, self.token) else emulated.FAULT_RESPONSES["bad_credentials"]

    # ---- assets

    def _secrets(self, request: Request) -> Response:
        return Response({"secretsType": "Sas", "sasToken": f"sv=2024-11-04&sr=c&sp=rwdl&sig={self.token}"})

    def _list_versions(self, request: Request) -> Response:
        wanted = request.query.get("hash")
        with self._shelf.opened() as state:
            known = state[request.arguments["kind"]].items()
        return _page([emulated.resource(path, asked) for path, asked in known if wanted in _hashes(asked)])

    def _begin_upload(self, request: Request) -> Response:
        uri = f"{self.account}/code-{request.arguments['name']}"
        sas = {"credentialType": "SAS", "sasUri": f"{uri}?sv=2024-11-04&sr=c&sp=rwl&sig={self.token}"}
        place = {"blobUri": uri, "storageAccountArmId": emulated.HOME, "credential": sas}
        return Response({"pendingUploadType": "TemporaryBlobReference", "blobReferenceForConsumption": place})

    def _put_asset(self, request: Request) -> Response:
        path, kind = _asset(request.arguments), request.arguments["kind"]
        kept = {**request.json()["properties"], **({"flavors": {}} if kind == "models" else {})}
        with self._shelf.opened() as state:
            state[kind][path] = kept
            return Response(emulated.resource(path, kept), status=201)

    def _get_asset(self, request: Request) -> Response:
        path = _asset(request.arguments)
        with self._shelf.opened() as state:
            return Response(emulated.resource(path, _known(state[request.arguments["kind"]], path)))

    # ---- jobs

    def _put_job(self, request: Request) -> Response:
        name, asked = request.arguments["name"], request.json()["properties"]
        if problem := problem_of_job(name, asked):
            raise Refusal(emulated.error(400, "UserError", problem))
        with self._shelf.opened() as state:
            if name in state["jobs"]:
                raise Refusal(emulated.error(409, "Conflict", f"The job {name} exists already."))
            state["jobs"][name] = {"name": name, "asked": asked, "word": "NotStarted"}
            return Response(emulated.job(state["jobs"][name], "NotStarted"), status=201)

    def _get_job(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            _known(state["jobs"], request.arguments["name"])
            if take(state, "sdk_error"):
                raise Refusal(emulated.FAULT_RESPONSES["sdk_error"])
            odd = take(state, "unknown_word")
        record = self._moved(request.arguments["name"])
        return Response(emulated.job(record, "Pondering" if odd else record["word"]))

    def _list_jobs(self, request: Request) -> Response:
        return _page([emulated.job(record, record["word"]) for record in reversed(self.jobs().values())])

    def _cancel(self, request: Request) -> Response:
        record = self._moved(request.arguments["name"])
        if record["word"] not in works.ENDED:
            self._change(record["name"], asked_to="cancel")
            if "workshop_id" in record:
                self._workshop.stop(record["workshop_id"])
            works.stop(self._machine(record["name"]))
        return Response(status=202, headers={"Location": f"{self.url}{request.path}/done"})

    def _details(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            record = dict(_known(state["jobs"], request.arguments["name"]))
        path = _log(record["name"])
        logs = {LOG: f"{self.account}/{path}?sv=2024-11-04&sr=b&sp=r&sig={self.token}"}
        there = logs if self._storage.path(path).exists() else {}
        return Response(emulated.details(record, record["word"], there, record.get("reason")))

    def _moved(self, name: str) -> dict[str, Any]:
        """Return a job after a moment has passed: its machine is started, or looked at."""
        with self._shelf.opened() as state:
            record = dict(_known(state["jobs"], name))
            fails = record["word"] == "Running" and take(state, "job_fails")
        if record["word"] in works.ENDED:
            return record
        if fails:
            works.stop(self._machine(name), kill=True)
            return self._change(name, word="Failed", reason=BROKEN)
        move = self._move_command if record["asked"]["jobType"] == "Command" else self._move_managed
        return self._change(name, **move(record))

    def _move_command(self, record: Mapping[str, Any]) -> dict[str, Any]:
        folder = self._machine(record["name"])
        if record["word"] == "NotStarted":
            if record.get("asked_to") == "cancel":
                return {"word": "Canceled"}
            works.start(folder, self._order(record))
            return {"word": "Queued"}
        seen = works.look(folder)
        if record.get("asked_to") == "cancel" and seen.code is None:  # the command has not ended by itself
            word = "Canceled" if seen.word in works.ENDED else "CancelRequested"
            return {"word": word, "started": seen.started, "ended": seen.ended}
        reason = BROKEN if seen.code is None else f"Execution failed. User process exited with code {seen.code}."
        failed = {"reason": reason} if seen.word == "Failed" else {}
        return {"word": seen.word, "started": seen.started, "ended": seen.ended, **failed}

    def _order(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a machine needs to know: where code, inputs and outputs lie in the container."""
        asked = record["asked"]
        with self._shelf.opened() as state:
            code = _known(state["codes"], asked["codeId"].split(f"{emulated.WORKSPACE}/")[-1])["codeUri"]
            inputs = {name: _data_uri(state, given["uri"]) for name, given in (asked.get("inputs") or {}).items()}
        outputs = {name: given["uri"] for name, given in (asked.get("outputs") or {}).items()}
        return {
            "name": record["name"],
            "command": asked["command"],
            "code": str(self._place(code)),
            "inputs": {name: str(self._place(uri)) for name, uri in inputs.items()},
            "outputs": {name: str(self._place(uri)) for name, uri in outputs.items()},
            "env": asked.get("environmentVariables") or {},
            "log": str(self._storage.path(_log(record["name"]))),
        }

    def _uploaded(self, code_id: str, model_id: str) -> list[Path]:
        """Return where a version of code and one of a model lie."""
        with self._shelf.opened() as state:
            code = _known(state["codes"], code_id.split(f"{emulated.WORKSPACE}/")[-1])["codeUri"]
            model = _known(state["models"], model_id.split(f"{emulated.WORKSPACE}/")[-1])["modelUri"]
        return [self._place(code), self._place(model)]

    def _move_managed(self, record: Mapping[str, Any]) -> dict[str, Any]:
        if "workshop_id" not in record:
            return {"word": "Canceled"} if record.get("asked_to") == "cancel" else self._start_managed(record)
        seen = self._workshop.look(record["workshop_id"])
        word = MANAGED_WORDS.get(seen.status, "Running")
        if record.get("asked_to") == "cancel" and word not in works.ENDED:
            word = "CancelRequested"
        ended = seen.finished_at.timestamp() if seen.finished_at else None
        return {"word": word, "started": seen.created_at.timestamp(), "ended": ended, "reason": seen.error}

    def _start_managed(self, record: Mapping[str, Any]) -> dict[str, Any]:
        details = record["asked"]["fineTuningDetails"]
        with self._shelf.opened() as state:
            wanted = ("trainingData", "validationData")
            places = [_data_uri(state, details[part]["uri"]) for part in wanted if details.get(part)]
        rows = [self._place(uri).read_bytes() for uri in places]
        given = details.get("hyperParameters") or {}
        names = {"num_train_epochs": "epochs", "per_device_train_batch_size": "batch_size", "seed": "seed"}
        known = {ours: json.loads(given[theirs]) for theirs, ours in names.items() if theirs in given}
        try:
            started = self._workshop.start(record["name"], *rows, hyperparameters=known)
        except TuneBridgeError as refused:
            return {"word": "Failed", "reason": str(refused)}
        return {"word": "Queued", "workshop_id": started}

    def _place(self, uri: str) -> Path:
        """Return the file or folder that an address means: of a blob, or of a path in the workspace's datastore."""
        found = re.fullmatch(rf"https://[^/]+/({CONTAINERS}.*)|azureml://.*/paths/(.+)", uri)
        if not found:
            raise Refusal(emulated.error(400, "UserError", f"{uri} is not in this workspace."))
        return self._storage.path((found[1] or f"{CONTAINER}/{found[2]}").rstrip("/"))

    def _machine(self, name: str) -> Path:
        return self._folder / "machines" / name

    def _change(self, name: str, **values: Any) -> dict[str, Any]:
        with self._shelf.opened() as state:
            if state["jobs"][name]["word"] not in works.ENDED:
                state["jobs"][name].update(values)
            return dict(state["jobs"][name])


def resolve_storage_names() -> None:
    """Let this process find storage accounts of the emulator, whose names no resolver knows, on this machine."""
    known = socket.getaddrinfo
    if getattr(known, "knows_storage_names", False):
        return

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        is_ours = isinstance(host, str) and host.endswith(f".{STORAGE_DOMAIN}")
        return known("127.0.0.1" if is_ours else host, *arguments, **options)

    getaddrinfo.knows_storage_names = True  # type: ignore[attr-defined]
    socket.getaddrinfo = getaddrinfo


def _log(name: str) -> str:
    return f"{CONTAINER}/ExperimentRun/dcid.{name}/{LOG}"


def _page(rows: list[Any]) -> Response:
    return Response({"value": rows, "nextLink": None})


def _asset(arguments: Mapping[str, str]) -> str:
    return f"{arguments['kind']}/{arguments['name']}/versions/{arguments['version']}"


def _hashes(asked: Mapping[str, Any]) -> tuple[Any, ...]:
    return (None, *(asked.get("properties") or {}).values())


def _data_uri(state: Mapping[str, Any], uri: str) -> str:
    """Return the address of an input, which may be a registered data asset."""
    known = {f"{emulated.HOME}/{path}": asked["dataUri"] for path, asked in state["data"].items()}
    return str(known.get(uri, uri))


def _known(records: Mapping[str, Any], name: str) -> Any:
    if name not in records:
        raise Refusal(emulated.error(404, "UserError", f"{name} was not found."))
    return records[name]
