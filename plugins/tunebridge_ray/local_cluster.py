"""A Ray cluster on this machine, for rehearsals and tests: started when it is first needed, ended when nobody asks.

`python -m tunebridge_ray.local_cluster FOLDER` keeps it: a detached process that outlives the one that started it, so
that a job goes on, and that stops the cluster when no job runs and nobody has asked for a while.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock

CLUSTER_FILE, ASKED_FILE, LOCK_FILE, LOG_FILE = "cluster.json", "asked", "keeper.lock", "cluster.log"
START_SECONDS = 120.0
"""Time within which a cluster answers."""
IDLE_SECONDS = 180.0
"""Time after which a cluster that runs no job and is not asked is stopped."""
LOOK_SECONDS = 1.0
CPUS = 2
OBJECT_STORE_BYTES = 100_000_000
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")

_children: "list[subprocess.Popen[bytes]]" = []
"""Keepers that this very process started."""


class LocalCluster:
    """The cluster of a folder; any process may ask for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def access(self) -> tuple[str, str]:
        """Return the dashboard's address and the cluster's token; start the cluster where it is not there."""
        (self._folder / ASKED_FILE).touch(mode=0o600)
        with filelock.FileLock(self._folder / "start.lock"):
            if not self._is_kept():
                (self._folder / CLUSTER_FILE).unlink(missing_ok=True)
                self._start()
            known = json.loads((self._folder / CLUSTER_FILE).read_text())
        return known["address"], known["token"]

    def stop(self) -> None:
        """End the cluster, with whatever it runs."""
        if self._is_kept() and (self._folder / CLUSTER_FILE).exists():
            os.kill(json.loads((self._folder / CLUSTER_FILE).read_text())["pid"], signal.SIGTERM)
        while self._is_kept():
            time.sleep(0.1)

    def _start(self) -> None:
        with (self._folder / LOG_FILE).open("ab") as log:
            command = [sys.executable, "-m", __name__, str(self._folder)]
            keeper = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )
        _children[:] = [*(child for child in _children if child.poll() is None), keeper]
        deadline = time.monotonic() + START_SECONDS
        while not (self._folder / CLUSTER_FILE).exists():
            if keeper.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"the local Ray cluster did not start; its log is {self._folder / LOG_FILE}")
            time.sleep(0.1)

    def _is_kept(self) -> bool:
        for child in _children:
            child.poll()
        try:
            with filelock.FileLock(self._folder / LOCK_FILE, timeout=0):
                return False
        except filelock.Timeout:
            return True


def ask(address: str, path: str, token: str) -> Any:
    """Return what a dashboard answers; OSError where it does not."""
    request = urllib.request.Request(f"{address}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def keep(folder: Path) -> None:
    """Run the cluster of a folder until it is idle, has ended, or this process is asked to stop."""
    with filelock.FileLock(folder / LOCK_FILE, timeout=0):
        # Not below the folder: the paths of Ray's sockets must stay short.
        scratch = Path(tempfile.mkdtemp(prefix="tbray-", dir="/tmp" if Path("/tmp").is_dir() else None))
        token, port = secrets.token_hex(24), _free_port()
        address = f"http://127.0.0.1:{port}"
        ray = subprocess.Popen(_command(port, scratch), env=_environment(token))
        signal.signal(signal.SIGTERM, lambda *_: ray.terminate())
        try:
            _attend(folder, ray, address, token)
        finally:
            (folder / CLUSTER_FILE).unlink(missing_ok=True)
            ray.terminate()
            ray.wait()
            shutil.rmtree(scratch, ignore_errors=True)


def _attend(folder: Path, ray: "subprocess.Popen[bytes]", address: str, token: str) -> None:
    known = {"pid": os.getpid(), "address": address, "token": token}
    while ray.poll() is None:
        time.sleep(LOOK_SECONDS)
        try:
            jobs = ask(address, "/api/jobs/", token)
        except OSError:
            continue
        if not (folder / CLUSTER_FILE).exists():
            partial = folder / f"{CLUSTER_FILE}.partial"
            partial.touch(mode=0o600)
            partial.write_text(json.dumps(known))
            partial.rename(folder / CLUSTER_FILE)
        runs = any(job["status"] not in ENDED for job in jobs)
        if not runs and time.time() - (folder / ASKED_FILE).stat().st_mtime > IDLE_SECONDS:
            return


def _command(port: int, scratch: Path) -> list[str]:
    options: Mapping[str, Any] = {
        "num-cpus": CPUS,
        "object-store-memory": OBJECT_STORE_BYTES,
        "node-ip-address": "127.0.0.1",
        "include-dashboard": "true",
        "dashboard-host": "127.0.0.1",
        "dashboard-port": port,
        "ray-client-server-port": _free_port(),
        "temp-dir": scratch,
        **dict.fromkeys(("port", "min-worker-port", "max-worker-port", "dashboard-agent-listen-port"), 0),
    }
    named = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats", *named]


def _environment(token: str) -> dict[str, str]:
    """Return this environment with the programs of this Python first, and nothing of another cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {
        **kept,
        "PATH": path,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # there is no other node to take its work
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
