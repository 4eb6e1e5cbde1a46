"""What a backend's author supplies to the conformance suite, and what the suite works with."""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tunebridge import submit, watch
from tunebridge.backend import Backend, BackendInfo
from tunebridge.data.dataset import Dataset, Split
from tunebridge.data.example import Example, Message
from tunebridge.job import Job, JobStatus, Snapshot
from tunebridge.spec import JobSpec
from tunebridge.store import Store


class ConformanceError(AssertionError):
    """A backend breaks the contract; the message says where."""


class Skipped(Exception):  # not an error
    """The case does not supply what a check needs."""


@dataclass(frozen=True)
class Gap:
    """A check that a backend is known not to hold."""

    kind: Literal["not implemented", "vendor does not offer"]
    reason: str


@dataclass
class BackendCase:
    """A backend, made ready to be tested: connected to an emulator or to something else that costs nothing."""

    info: BackendInfo
    spec: JobSpec
    """A job that is over in seconds; it sets as little as possible."""
    dataset: Dataset
    open: Callable[[], Backend] | None = None
    """Return a connected backend; unset: what the plugin loads."""
    inject: Callable[[str], None] | None = None
    """Let the next call go wrong, by a name of `tunebridge.testing.service.FAULTS`."""
    count_remote_jobs: Callable[[], int] | None = None
    """Return how many jobs the service has."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment variable -> sentinel value that must never turn up anywhere."""
    gaps: Mapping[str, Gap] = field(default_factory=dict)
    """Name of a check -> why it is not held."""
    timeout_seconds: float = 120.0


def small_dataset(*, kind: str = "sft", validation: bool = False, rows: int = 12) -> Dataset:
    """Return a few rows of one kind, the same ones each time."""
    train = Split(tuple(_row(number, kind) for number in range(rows)))
    return Dataset(train, Split((_row(rows, kind), _row(rows + 1, kind))) if validation else None)


def _row(number: int, kind: str) -> Example:
    asked = Message(role="user", content=f"What is the colour of ball {number}?")
    red, blue = Message(role="assistant", content="red"), Message(role="assistant", content="blue")
    if kind == "text":
        return Example(text=f"Ball {number} is red.")
    if kind == "preference":
        return Example(messages=(asked,), preferred=(red,), rejected=(blue,))
    if kind == "kto":
        return Example(messages=(asked, blue if number % 2 else red), label=number % 2 == 0)
    return Example(messages=(asked,) if kind == "prompt_only" else (asked, red))


@dataclass
class Run:
    """A job that was brought to its end, with everything that the backend said on the way."""

    job: Job
    snapshots: list[Snapshot]


class Lab:
    """One case with a store of its own; the finished job is made once and shared by the checks."""

    def __init__(self, case: BackendCase, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.store = Store(folder / "store")

    @property
    def info(self) -> BackendInfo:
        """The backend's description."""
        return self.case.info

    @cached_property
    def backend(self) -> Backend:
        """The connected backend."""
        return self.case.open() if self.case.open else self.info.load()()

    def submit(self, *, spec: JobSpec | None = None) -> Job:
        """Submit the case's job and return it."""
        plan = self.backend.plan(spec or self.case.spec, self.case.dataset)
        return submit.submit(self.store, self.backend, plan, self.case.dataset, again=True)

    @cached_property
    def finished(self) -> Run:
        """A job that ended by itself."""
        return self.follow(self.submit())

    def follow(self, job: Job) -> Run:
        """Poll a job to its end, as `watch` does, and keep what the backend said."""
        snapshots: list[Snapshot] = []
        deadline = time.monotonic() + self.case.timeout_seconds
        while not job.status.is_terminal:
            if time.monotonic() > deadline:
                raise ConformanceError(f"the job is still {job.status} after {self.case.timeout_seconds:g} s")
            snapshot = self.backend.poll(job, job.cursor)
            job, new = self.store.record(job, snapshot)
            snapshots.append(snapshot)
            if not new:
                time.sleep(min(self.info.capabilities.poll_seconds, 0.5))
        return Run(job, snapshots)

    def until(self, job: Job, *statuses: JobStatus) -> Job:
        """Poll a job until it has one of the statuses or has ended."""
        deadline = time.monotonic() + self.case.timeout_seconds
        while job.status not in statuses and not job.status.is_terminal and time.monotonic() < deadline:
            job = watch.poll_once(self.store, self.backend, job.id)
            time.sleep(min(self.info.capabilities.poll_seconds, 0.1))
        return job

    def written(self) -> Iterator[tuple[Path, bytes]]:
        """Yield every file of the store and the jobs."""
        for path in sorted(self.store.home.rglob("*")):
            if path.is_file():
                yield path, path.read_bytes()


@contextmanager
def lab(case: BackendCase) -> Iterator[Lab]:
    """Give a Lab in a temporary folder, with the case's sentinel secrets in the environment."""
    before = {name: os.environ.get(name) for name in case.secrets}
    os.environ.update(case.secrets)
    try:
        with tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as name:
            yield Lab(case, Path(name))
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


@contextmanager
def without(packages: Sequence[str]) -> Iterator[None]:
    """Let every import of some packages fail while the block runs, as if they were not installed."""
    hidden = {*packages, *(name for name in sys.modules if name.split(".")[0] in packages)}
    before = {name: sys.modules[name] for name in hidden if name in sys.modules}
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None says that there is no such module
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        sys.modules.update(before)


@contextmanager
def no_network() -> Iterator[None]:
    """Make every connection fail while the block runs."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        raise ConformanceError(f"planning opened a connection to {address}")

    socket.socket.connect = refuse  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
