"""A local Ray cluster behind a gateway on 127.0.0.1: Ray itself works, the gateway checks the token and has faults."""

import json
import os
import secrets
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

from tunebridge.testing.shelf import Faults, Shelf
from tunebridge.testing.wire import Refusal, Request, Response, Route, Wire
from tunebridge_ray.local_cluster import LocalCluster, ask

FAULT_RESPONSES: Mapping[str, Response] = {
    "bad_credentials": Response("Unauthorized: Invalid or expired authentication token", status=401),
    "quota": Response("The gateway lets no more jobs through.", status=402),
    "rate_limited": Response("Too many requests", status=429),
    "sdk_error": Response("I'm a teapot", status=418),
    "unavailable_before": Response("Service unavailable", status=503),
    "unavailable_after": Response("Service unavailable", status=503),
}
WORD_NOBODY_KNOWS = "HIBERNATING"


class Gateway:
    """What stands before a cluster's dashboard; the cluster is started when the first request comes."""

    def __init__(self, folder: Path) -> None:
        self._shelf = Shelf(folder, empty={"token": secrets.token_hex(16)})
        self._cluster, self.faults = LocalCluster(folder / "cluster"), Faults(self._shelf)
        with self._shelf.opened() as state:
            self.token: str = state["token"]
        self.wire = Wire(
            [
                Route("POST", "/api/jobs/", self._forward, creates=True),
                Route("GET", "/api/jobs/(?P<id>[^/]+)", self._job),
                *(Route(method, "/api/.*", self._forward) for method in ("GET", "POST", "PUT", "DELETE")),
            ],
            authorise=self._authorise,
            faults=self.faults,
            fault_responses=FAULT_RESPONSES,
        )

    def start(self) -> "Gateway":
        """Begin to answer."""
        self.wire.start()
        return self

    def stop(self) -> None:
        """End the gateway and the cluster behind it."""
        self.wire.stop()
        self._cluster.stop()

    def count_jobs(self) -> int:
        """Return how many jobs were submitted to the cluster and not removed."""
        address, token = self._cluster.access()
        return sum(job["submission_id"] is not None for job in ask(address, "/api/jobs/", token))

    def _authorise(self, request: Request) -> Response | None:
        if secrets.compare_digest(request.headers.get("authorization", ""), f"Bearer {self.token}"):
            return None
        return FAULT_RESPONSES["bad_credentials"]

    def _job(self, request: Request) -> Response:
        if self.faults.takes("sdk_error"):
            raise Refusal(FAULT_RESPONSES["sdk_error"])
        answered = self._forward(request)
        if answered.status != 200:
            return answered
        job = json.loads(answered.body)
        if job["status"] == "RUNNING" and job.get("driver_info") and self.faults.takes("job_fails"):
            with suppress(ProcessLookupError):
                os.kill(int(job["driver_info"]["pid"]), signal.SIGKILL)
        if self.faults.takes("unknown_word"):
            return Response({**job, "status": WORD_NOBODY_KNOWS})
        return answered

    def _forward(self, request: Request) -> Response:
        address, token = self._cluster.access()
        query = f"?{urlencode(request.query)}" if request.query else ""
        sent = urllib.request.Request(
            f"{address}{request.path}{query}",
            data=request.body if request.method in ("POST", "PUT") else None,
            method=request.method,
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": request.headers.get("content-type", "application/octet-stream"),
            },
        )
        try:
            with urllib.request.urlopen(sent, timeout=60) as answer:
                kind = answer.headers.get("Content-Type", "application/json")
                return Response(answer.read(), status=answer.status, content_type=kind)
        except urllib.error.HTTPError as error:
            with error:
                return Response(error.read(), status=error.code, content_type="text/plain")
        except OSError:
            return FAULT_RESPONSES["unavailable_after"]
