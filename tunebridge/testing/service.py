"""A training service on disk, for the fake backend: it has jobs, faults on request, and no time but its polls.

Everything lies in one folder, so several processes see the same service, and a killed one leaves a true picture.
"""

import os
import signal
from pathlib import Path
from typing import Any

from tunebridge.testing.shelf import Faults, Shelf, take

STATES = ("queued", "preparing", "running", "running", "running", "finalizing", "succeeded")
"""A job's word at each poll."""
FAULTS = (
    "rate_limited",
    "unavailable_before",
    "unavailable_after",
    "dropped_after",
    "bad_credentials",
    "quota",
    "unknown_word",
    "job_fails",
    "kill_before",
    "kill_after",
    "sdk_error",
    "find_lags",
)
"""What `inject` can switch on; `kill_*` end the calling process with SIGKILL before or after a job is created."""


class ServiceError(Exception):
    """What the fake vendor's SDK raises; it never leaves the fake backend."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"HTTP {status}")


class FakeService:
    """Jobs of a fake vendor in a folder."""

    def __init__(self, folder: Path) -> None:
        self._shelf = Shelf(folder, empty={"jobs": {}})
        self._faults = Faults(self._shelf)
        self.inject = self._faults.inject

    def create(self, name: str, payload: dict[str, Any]) -> str:
        """Create a job under a name and return its id; creating twice makes two jobs."""
        self._fail("bad_credentials", 401)
        self._fail("quota", 402)
        self._fail("rate_limited", 429)
        self._fail("sdk_error", 418)
        self._fail("unavailable_before", 503)
        self._kill("kill_before")
        with self._shelf.opened() as state:
            identifier = f"fake-{len(state['jobs']) + 1}"
            state["jobs"][identifier] = {"name": name, "payload": payload, "polls": 0, "word": "queued", "log": []}
        self._kill("kill_after")
        self._fail("unavailable_after", 503)
        self._fail("dropped_after", 0)
        return identifier

    def look(self, identifier: str) -> dict[str, Any]:
        """Return a job as it is after one more moment has passed."""
        self._fail("sdk_error", 418)
        with self._shelf.opened() as state:
            if identifier not in state["jobs"]:
                raise ServiceError(404)
            job: dict[str, Any] = state["jobs"][identifier]
            odd = take(state, "unknown_word")
            if job["word"] not in ("succeeded", "failed", "cancelled"):
                self._move(state, job)
            return {**job, "word": "pondering"} if odd else job

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return all jobs by id."""
        with self._shelf.opened() as state:
            return dict(state["jobs"])

    def find(self, name: str) -> str | None:
        """Return the id of the job of a name; a fresh one may stay invisible for a while (`find_lags`)."""
        with self._shelf.opened() as state:
            lags = take(state, "find_lags")
            found = [key for key, job in state["jobs"].items() if job["name"] == name]
        return found[0] if found and not lags else None

    def cancel(self, identifier: str) -> None:
        """Ask for a job's end; the next look finds it cancelled."""
        with self._shelf.opened() as state:
            state["jobs"][identifier]["stop"] = True

    def hold(self, identifier: str) -> None:
        """Ask for a job to be paused; the next look finds it so."""
        with self._shelf.opened() as state:
            state["jobs"][identifier]["hold"] = True

    def restart(self, identifier: str) -> None:
        """Go on with a job that is paused or has ended."""
        with self._shelf.opened() as state:
            state["jobs"][identifier].update(word="running", polls=2, stop=False, hold=False)

    def open_endpoint(self, name: str) -> None:
        """Make an endpoint; one that stands stays as it is."""
        with self._shelf.opened() as state:
            state.setdefault("endpoints", {})[name] = True

    def close_endpoint(self, name: str) -> None:
        """Remove an endpoint where there is one."""
        with self._shelf.opened() as state:
            state.get("endpoints", {}).pop(name, None)

    def endpoints(self) -> list[str]:
        """Return the names of the endpoints that stand."""
        with self._shelf.opened() as state:
            return sorted(state.get("endpoints", {}))

    def delete(self, identifier: str) -> None:
        """Forget a job."""
        with self._shelf.opened() as state:
            state["jobs"].pop(identifier, None)

    def _move(self, state: dict[str, Any], job: dict[str, Any]) -> None:
        if job.get("hold") and not job.get("stop"):
            job["word"] = "paused"
            return
        job["polls"] += 1
        job["word"] = "cancelled" if job.get("stop") else STATES[min(job["polls"], len(STATES) - 1)]
        if job["word"] == "running" and take(state, "job_fails"):
            job["word"] = "failed"
        job["log"].append({"number": len(job["log"]) + 1, "word": job["word"]})

    def _fail(self, fault: str, status: int) -> None:
        if self._faults.takes(fault):
            raise ServiceError(status)

    def _kill(self, fault: str) -> None:
        if self._faults.takes(fault):
            os.kill(os.getpid(), signal.SIGKILL)
