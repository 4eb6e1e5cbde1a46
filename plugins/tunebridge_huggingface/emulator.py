"""Hugging Face Jobs and the hub on 127.0.0.1: jobs run their uploaded command as processes of this machine.

A job's volumes are the repositories that were really uploaded, and its result is really pushed: the process talks to
an emulator on the same folder, of its own (`emulated_machine`), since the one that took the job may be gone by then.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunebridge.testing import machine
from tunebridge.testing.shelf import Faults, Shelf, take
from tunebridge.testing.wire import Refusal, Request, Response, Route, Wire, page
from tunebridge_huggingface.repositories import Repositories, error
from tunebridge_huggingface.validation import problem_of_job

USER = {"type": "user", "id": "1", "name": "emulator"}
FLAVORS = {"cpu-basic": 167, "t4-small": 6667, "l4x1": 13333, "a100-large": 41667}
"""Machine -> millionths of a dollar per minute."""
ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
PRIVATE = ("launched",)
PAGE = 50
FAULT_RESPONSES = {
    "bad_credentials": error(401, "Invalid username or password."),
    "quota": error(402, "Pre-paid credit balance is insufficient - add more credits to your account."),
    "rate_limited": error(429, "We had to rate limit you.", **{"retry-after": "0.05"}),
    "sdk_error": Response({"strange": True}, status=418),
    "unavailable_before": error(503, "Service Unavailable"),
    "unavailable_after": error(504, "Gateway Timeout"),
}


class Emulator:
    """One account of the hub; everything it knows lies in its folder."""

    def __init__(self, folder: Path) -> None:
        self._shelf = Shelf(folder, empty={"jobs": {}, "token": f"hf_{secrets.token_hex(17)}"})
        self._folder, self.faults = folder, Faults(self._shelf)
        self.repositories = Repositories(folder / "repositories", lambda: self.wire.url)
        with self._shelf.opened() as state:
            self.token: str = state["token"]
        self.wire = Wire(
            [*self._routes(), *self.repositories.routes()],
            authorise=self._authorise,
            faults=self.faults,
            fault_responses=FAULT_RESPONSES,
        )

    def start(self) -> "Emulator":
        """Begin to answer."""
        self.wire.start()
        return self

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return every job by id, as the account has it on disk."""
        with self._shelf.opened() as state:
            return dict(state["jobs"])

    def _routes(self) -> list[Route]:
        job = "/api/jobs/(?P<namespace>[^/]+)/(?P<id>[^/]+)"
        return [
            Route("GET", "/api/whoami-v2", lambda request: Response({**USER, "orgs": [], "auth": {}})),
            Route("GET", "/api/jobs/hardware", self._hardware),
            Route("POST", "/api/jobs/(?P<namespace>[^/]+)", self._create, creates=True),
            Route("GET", "/api/jobs/(?P<namespace>[^/]+)", self._list),
            Route("GET", job, self._get),
            Route("GET", f"{job}/logs", self._log),
            Route("POST", f"{job}/cancel", self._cancel),
        ]

    def _authorise(self, request: Request) -> Response | None:
        if secrets.compare_digest(request.headers.get("authorization", ""), f"Bearer {self.token}"):
            return None
        return error(401, "Invalid username or password.")

    def _hardware(self, request: Request) -> Response:
        rest = {"cpu": "2 vCPU", "ram": "16 GB", "ephemeralStorage": "50 GB", "accelerator": None}
        return Response(
            [
                {
                    "name": name,
                    "prettyName": name,
                    **rest,
                    "unitCostMicroUSD": cost,
                    "unitCostUSD": cost / 1e6,
                    "unitLabel": "minute",
                }
                for name, cost in FLAVORS.items()
            ]
        )

    # ---- jobs

    def _create(self, request: Request) -> Response:
        asked = request.json()
        wrong = problem_of_job(asked, set(FLAVORS)) or self._problem_of_volumes(asked)
        if wrong:
            raise Refusal(error(400, wrong))
        if asked.get("secrets", {}).get("HF_TOKEN") != self.token:
            raise Refusal(error(400, "the secret HF_TOKEN is not the account's"))
        identifier = secrets.token_hex(12)
        record = {
            "id": identifier,
            "createdAt": _now(),
            "startedAt": None,
            "finishedAt": None,
            **{key: value for key, value in asked.items() if key != "secrets"},
            "secrets": {"HF_TOKEN": "***"},
            "status": {"stage": "SCHEDULING", "message": None},
            "owner": {**USER, "name": request.arguments["namespace"]},
            "launched": False,
        }
        with self._shelf.opened() as state:
            state["jobs"][identifier] = record
        return Response(_public(record))

    def _problem_of_volumes(self, asked: Mapping[str, Any]) -> str | None:
        for volume in asked.get("volumes", []):
            if self.repositories.commit_of(f"{volume['type']}s", volume["source"]) is None:
                return f"Repository {volume['source']} not found"
        return None

    def _list(self, request: Request) -> Response:
        wanted = [request.query["label"].split("=", 1)] if "label" in request.query else []
        with self._shelf.opened() as state:
            jobs = [job for job in state["jobs"].values() if job["owner"]["name"] == request.arguments["namespace"]]
        found = [job for job in reversed(jobs) if all((job.get("labels") or {}).get(k) == v for k, v in wanted)]
        shown, more = page(found, after=request.query.get("cursor"), limit=PAGE, key=lambda job: job["id"])
        link = f'<{self.wire.url}{request.path}?cursor={shown[-1]["id"]}>; rel="next"' if more else ""
        return Response([_public(job) for job in shown], headers={"Link": link} if link else {})

    def _get(self, request: Request) -> Response:
        job = self._moved(request.arguments["id"])
        with self._shelf.opened() as state:
            odd = take(state, "unknown_word")
        return Response(_public({**job, "status": {"stage": "PONDERING", "message": None}} if odd else job))

    def _moved(self, identifier: str) -> dict[str, Any]:
        """Return a job after a moment has passed: it is launched at the first look, and ends as its process does."""
        with self._shelf.opened() as state:
            job = _known(state["jobs"], identifier)
            if take(state, "sdk_error"):
                raise Refusal(Response({"strange": True}, status=418))
            if job["status"]["stage"] == "RUNNING" and take(state, "job_fails"):
                machine.stop(self._machine(identifier))
                _end(job, "ERROR", "Job failed with exit code: 137. Reason: OOMKilled")
            elif not job["launched"] and job["status"]["stage"] == "SCHEDULING":
                job["launched"] = True
                self._launch(job)
            elif job["status"]["stage"] not in ENDED:
                self._look(job)
            return dict(job)

    def _launch(self, job: Mapping[str, Any]) -> None:
        mounts = {
            volume["mountPath"]: str(self.repositories.folder(f"{volume['type']}s", volume["source"]))
            for volume in job.get("volumes", [])
        }
        task = machine.Task(
            command=(*job["command"], *job["arguments"]),
            environment=job["environment"],
            mounts=mounts,
            timeout_seconds=job.get("timeoutSeconds", 1800),
        )
        machine.launch(self._machine(job["id"]), task, module="tunebridge_huggingface.emulated_machine")

    def _look(self, job: dict[str, Any]) -> None:
        job["status"]["stage"] = "RUNNING"
        job["startedAt"] = job["startedAt"] or _now()
        end = machine.ended(self._machine(job["id"]))
        if end is None:
            return
        if end.timed_out:
            _end(job, "ERROR", "Job timeout")
        elif end.code:
            _end(job, "ERROR", f"Job failed with exit code: {end.code}. Reason: Error")
        else:
            _end(job, "COMPLETED", None)

    def _log(self, request: Request) -> Response:
        identifier = request.arguments["id"]
        with self._shelf.opened() as state:
            _known(state["jobs"], identifier)
        return Response(_stream(machine.log(self._machine(identifier))), content_type="text/event-stream")

    def _cancel(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            job = _known(state["jobs"], request.arguments["id"])
            if job["status"]["stage"] in ENDED:
                raise Refusal(error(400, f"The job is {job['status']['stage']} and cannot be canceled"))
            if job["launched"]:
                machine.stop(self._machine(job["id"]))
            _end(job, "CANCELED", None)
            return Response(_public(job))

    def _machine(self, identifier: str) -> Path:
        return self._folder / "machines" / identifier


def _stream(lines: list[dict[str, Any]]) -> Iterator[bytes]:
    yield b'data: {"data": "===== Job started", "timestamp": "1970-01-01T00:00:00Z"}\n\n'
    for line in lines:
        yield f"data: {json.dumps({'data': line['line'], 'timestamp': line['at']})}\n\n".encode()


def _end(job: dict[str, Any], stage: str, message: str | None) -> None:
    job["status"] = {"stage": stage, "message": message}
    job["finishedAt"] = _now()
    began = datetime.fromisoformat(job["startedAt"] or job["finishedAt"])
    seconds = round((datetime.fromisoformat(job["finishedAt"]) - began).total_seconds())
    job["durations"] = {"schedulingSecs": 0, "runningSecs": seconds, "totalSecs": seconds}


def _public(job: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name not in PRIVATE}


def _known(jobs: dict[str, Any], identifier: str) -> dict[str, Any]:
    if identifier not in jobs:
        raise Refusal(error(404, "Job not found", "JobNotFound"))
    found: dict[str, Any] = jobs[identifier]
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
