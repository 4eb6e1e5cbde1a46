"""The emulator's custom jobs: records in the service's own shape, run as processes with `/gcs` where it really lies."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunebridge.testing import machine
from tunebridge.testing.shelf import Shelf, take
from tunebridge.testing.wire import Refusal, Request, Response, Route, page
from tunebridge_vertexai import emulated
from tunebridge_vertexai.validation import problem, problem_of_labels

PLACE = "/v1/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)"
JOB = f"{PLACE}/customJobs/(?P<id>[^/:]+)"
LAUNCHED = "launched"


class Machines:
    """Custom jobs on one shelf with the tuning jobs, and a folder for each machine."""

    def __init__(self, shelf: Shelf, objects: Path) -> None:
        self._shelf, self._objects = shelf, objects

    def routes(self) -> list[Route]:
        """Return what the SDK asks of custom jobs."""
        return [
            Route("POST", f"{PLACE}/customJobs", self._create, creates=True),
            Route("GET", f"{PLACE}/customJobs", self._list),
            Route("GET", JOB, self._get),
            Route("POST", f"{JOB}:cancel", self._cancel),
        ]

    def _create(self, request: Request) -> Response:
        asked = request.json()
        wrong = problem(asked, "CustomJob", "v1") or problem_of_labels(asked.get("labels") or {})
        if wrong or request.arguments["location"] == "global":
            raise Refusal(emulated.error(400, wrong or "custom jobs need a region"))
        name = f"{request.path.removeprefix('/v1/')}/{secrets.randbelow(9 * 10**18) + 10**18}"
        at = emulated.now()
        times = {"createTime": at, "updateTime": at}
        record = {**asked, "name": name, "state": "JOB_STATE_PENDING", **times, LAUNCHED: False}
        with self._shelf.opened() as state:
            state["custom_jobs"][name] = record
        return Response(_public(record))

    def _list(self, request: Request) -> Response:
        parent = request.path.removeprefix("/v1/").removesuffix("/customJobs")
        with self._shelf.opened() as state:
            found = [_public(job) for name, job in state["custom_jobs"].items() if name.startswith(parent)][::-1]
        limit = int(request.query.get("pageSize") or 100)
        shown, more = page(found, after=request.query.get("pageToken"), limit=limit, key=lambda job: job["name"])
        return Response({"customJobs": shown, **({"nextPageToken": shown[-1]["name"]} if more else {})})

    def _get(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            job = _known(state["custom_jobs"], request.path.removeprefix("/v1/"))
            if take(state, "sdk_error"):
                raise Refusal(Response({"strange": True}, status=418))
            if job["state"] == "JOB_STATE_RUNNING" and take(state, "job_fails"):
                machine.stop(self._folder(job))
                _end(job, "FAILED", "The replica workerpool0-0 exited with a non-zero status of 137.")
            elif job["state"] not in emulated.ENDED:
                self._move(job)
            odd = take(state, "unknown_word")
            return Response(_public({**job, "state": "JOB_STATE_UPDATING_STRANGELY"} if odd else job))

    def _move(self, job: dict[str, Any]) -> None:
        """Launch a job at the first look, and let it end as its process does."""
        if not job[LAUNCHED] and job["state"] == "JOB_STATE_PENDING":
            self._launch(job)
            return
        end = machine.ended(self._folder(job))
        if end is None:
            if job["state"] == "JOB_STATE_PENDING":
                job |= {"state": "JOB_STATE_RUNNING", "startTime": emulated.now()}
        elif job["state"] == "JOB_STATE_CANCELLING":
            _end(job, "CANCELLED", None)
        elif end.timed_out:
            _end(job, "FAILED", "The job ran longer than its timeout.")
        elif end.code:
            _end(job, "FAILED", f"The replica workerpool0-0 exited with a non-zero status of {end.code}.")
        else:
            _end(job, "SUCCEEDED", None)

    def _launch(self, job: dict[str, Any]) -> None:
        spec = job["jobSpec"]
        container = spec["workerPoolSpecs"][0]["containerSpec"]
        timeout = (spec.get("scheduling") or {}).get("timeout", "604800s")
        task = machine.Task(
            command=(*container.get("command", ()), *container.get("args", ())),
            environment={one["name"]: one["value"] for one in container.get("env", ())},
            mounts={"/gcs/": f"{self._objects}/"},
            timeout_seconds=float(timeout.removesuffix("s")),
        )
        machine.launch(self._folder(job), task)
        job[LAUNCHED] = True

    def _cancel(self, request: Request) -> Response:
        with self._shelf.opened() as state:
            job = _known(state["custom_jobs"], request.path.removeprefix("/v1/").removesuffix(":cancel"))
            if job["state"] in emulated.ENDED:
                raise Refusal(emulated.error(400, f"The job is {job['state']} and cannot be cancelled."))
            if job[LAUNCHED]:
                machine.stop(self._folder(job))
                job["state"] = "JOB_STATE_CANCELLING"
            else:
                _end(job, "CANCELLED", None)
            return Response({})

    def _folder(self, job: Mapping[str, Any]) -> Path:
        return self._shelf.folder / "machines" / str(job["name"]).rsplit("/", 1)[1]


def _end(job: dict[str, Any], word: str, message: str | None) -> None:
    at = emulated.now()
    job |= {"state": f"JOB_STATE_{word}", "endTime": at, "updateTime": at}
    if message:
        job["error"] = {"code": 3, "message": message}


def _public(job: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in job.items() if key != LAUNCHED}


def _known(jobs: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in jobs:
        raise Refusal(emulated.error(404, f"CustomJob {name} is not found."))
    found: dict[str, Any] = jobs[name]
    return found
