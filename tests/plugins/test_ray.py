"""Ray: plans, states and storage without it; then a real cluster of this machine, with workers that die."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import make_run, metrics, train, weights
from tunebridge import submit, watch
from tunebridge.backend import Rehearsal
from tunebridge.errors import AuthenticationError, BackendError, InvalidRequest, RateLimited, ServiceUnavailable
from tunebridge.job import Job, JobStatus
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.store import Store
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.testing.suite import BackendConformance
from tunebridge.training.config import RunConfig

pytest.importorskip("fsspec")

from tunebridge_ray import client
from tunebridge_ray.backend import RayBackend
from tunebridge_ray.cluster.mirror import Mirror, worked_in
from tunebridge_ray.cluster.place import Place
from tunebridge_ray.follow import GONE, follow
from tunebridge_ray.status import backend_error, job_status

JOB = {"backend": "ray", "base_model": "random", "data": {"train": "rows.jsonl"}}


def plan(**options: Any) -> Plan:
    job = {**JOB, "options": {"ray": {"storage": "/shared", **options}}}
    return RayBackend().plan(JobSpec.model_validate(job), small_dataset())


def refused(made: Plan) -> dict[str, str]:
    return {line.field: line.reason for line in made.refused}


# ---- plans


def test_a_plan_names_the_workers_and_their_threads() -> None:
    made = plan(num_workers=4, cpus_per_worker=2, gpus_per_worker=1, sharding="fsdp", address="http://head:8265")
    assert not made.refused
    assert made.connection == {"storage": "/shared", "address": "http://head:8265"}
    assert made.payload["request"] == {
        "num_workers": 4,
        "cpus_per_worker": 2.0,
        "gpus_per_worker": 1,
        "max_failures": 3,
        "requirements": "present",
    }
    assert (made.payload["run"]["threads"], made.payload["run"]["sharding"]) == (2, "fsdp")
    assert plan(threads=3).payload["run"]["threads"] == 3


def test_what_cannot_be_is_refused() -> None:
    assert "options.ray.storage" in refused(RayBackend().plan(JobSpec.model_validate(JOB), small_dataset()))
    assert "raise options.ray.num_workers" in refused(plan(sharding="fsdp"))["options.ray.sharding"]
    assert "options.ray.gpus_per_worker" in refused(plan(device="cuda"))["options.ray.device"]


def test_an_address_is_the_dashboards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(InvalidRequest, match="such as http://head:8265"):
        client.connect({})


# ---- states and errors


@pytest.mark.parametrize(
    ("word", "said", "status"),
    [
        ("PENDING", "", JobStatus.queued),
        ("RUNNING", "", JobStatus.preparing),
        ("RUNNING", "running", JobStatus.running),
        ("RUNNING", "failed", JobStatus.preparing),  # of the attempt before a resume, or just about to end
        ("RUNNING", "succeeded", JobStatus.finalizing),
        ("SUCCEEDED", "succeeded", JobStatus.succeeded),
        ("SUCCEEDED", "cancelled", JobStatus.cancelled),
        ("STOPPED", "running", JobStatus.cancelled),
        ("FAILED", "running", JobStatus.failed),
        ("HIBERNATING", "running", JobStatus.unknown),
    ],
)
def test_states(word: str, said: str, status: JobStatus) -> None:
    assert job_status(word, said) == status


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("Request failed with status code 500: Traceback"), ServiceUnavailable),
        (RuntimeError("Request failed with status code 429: slow down"), RateLimited),
        (RuntimeError("Request failed with status code 401: token sentinel"), AuthenticationError),
        (RuntimeError("status code 418"), InvalidRequest),
        (ConnectionError("sentinel"), ServiceUnavailable),
    ],
)
def test_errors(error: Exception, kind: type[BackendError]) -> None:
    found = backend_error(error, "poll")
    assert type(found) is kind
    assert "sentinel" not in str(found)


def event(word: str) -> bytes:
    said = {"type": "event", "id": f"status-{word}", "at": "2026-11-25T08:00:00Z", "kind": "status", "message": "why"}
    return json.dumps({**said, "data": {"status": word}}).encode() + b"\n"


def test_a_job_is_followed_by_bytes_and_survives_its_cluster(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_bytes(event("preparing") + event("running")[:20])
    place = Place(str(tmp_path))
    first = follow(place, None, "RUNNING", list)
    assert (first.status, len(first.events)) == (JobStatus.preparing, 1)
    events.write_bytes(event("preparing") + event("running"))
    second = follow(place, first.cursor, "RUNNING", list)
    assert (second.status, [e.id for e in second.events]) == (JobStatus.running, ["status-running"])
    assert follow(place, second.cursor, "RUNNING", list).events == ()
    lost = follow(place, second.cursor, GONE, list)
    assert lost.status == JobStatus.failed
    assert "jobs resume" in str(lost.error)
    assert follow(place, second.cursor, "FAILED", lambda: ["boom"]).error == (
        "the job ended as FAILED. Last lines of its log:\nboom"
    )
    events.write_bytes(events.read_bytes() + event("failed"))
    assert follow(place, second.cursor, "FAILED", list).error == "why"
    events.write_bytes(events.read_bytes() + event("succeeded"))
    assert follow(place, second.cursor, GONE, list).status == JobStatus.succeeded


# ---- a place of fsspec (`local` is a file system like any other to it: files are copied)


def test_a_run_folder_is_copied_and_sent_back(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    (remote / "checkpoints" / "step-1").mkdir(parents=True)
    (remote / "run.json").write_text("{}")
    (remote / "checkpoints" / "step-1" / "state.json").write_text("{}")
    place = Place(f"local://{remote}")
    assert place.folder is None
    with worked_in(place, f"test-{os.getpid()}", writes=True) as folder:
        assert (folder / "run.json").read_text() == "{}"
        (folder / "checkpoints" / "step-1" / "state.json").unlink()
        (folder / "checkpoints" / "step-2").mkdir()
        (folder / "checkpoints" / "step-2" / "state.json").write_text("{}")
        (folder / "checkpoints" / "step-3.partial").write_text("half")
        (folder / "events.jsonl").write_text("one\n")
    assert not folder.exists()
    found = {path.relative_to(remote).as_posix() for path in remote.rglob("*") if path.is_file()}
    assert found == {"run.json", "checkpoints/step-2/state.json", "events.jsonl"}


def test_a_request_to_stop_comes_from_the_place(tmp_path: Path) -> None:
    place, here = Place(f"local://{tmp_path / 'remote'}"), tmp_path / "here"
    here.mkdir()
    mirror = Mirror(here, place)
    mirror.exchange()
    assert not (here / "cancel.request").exists()
    place.write("cancel.request", b"1")
    mirror.exchange()
    assert (here / "cancel.request").exists()


def test_a_shared_folder_is_worked_in_where_it_is(tmp_path: Path) -> None:
    for url in (str(tmp_path), tmp_path.as_uri()):
        with worked_in(Place(url), "test", writes=True) as folder:
            assert folder == tmp_path


def test_a_place_that_nobody_knows_is_an_invalid_request(tmp_path: Path) -> None:
    made = plan(storage="nowhere://bucket/runs")
    store = Store(tmp_path / "store")

    class NoCluster(client.Remote):
        def __init__(self) -> None:
            pass

    with pytest.raises(InvalidRequest, match="nowhere://bucket/runs/tb-"):
        submit.submit(store, RayBackend(lambda connection: NoCluster()), made, small_dataset())


# ---- a cluster


def needs_ray() -> None:
    pytest.importorskip("ray", reason="needs the extra `ray`: run `make test-ray`")


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.timeout(900)
class TestRay(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> Iterator[BackendCase]:
        needs_ray()
        from tunebridge_ray import conformance

        yield conformance.case()
        conformance.room()[1].stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Rehearsal]]:
    needs_ray()
    from tunebridge_ray.conformance import connected
    from tunebridge_ray.emulator import Gateway

    folder = tmp_path_factory.mktemp("ray")
    gateway = Gateway(folder).start()
    yield folder, Rehearsal(connected(gateway), base_model="random")
    gateway.stop()


STEPS = 40
HYPERPARAMETERS = {"max_steps": STEPS, "batch_size": 4, "seed": 3}


def started(
    cluster: tuple[Path, Rehearsal], folder: Path, storage: str, **options: Any
) -> tuple[Store, RayBackend, Job]:
    """Submit a job for two workers that writes a checkpoint after every step."""
    backend, store, data = cluster[1].backend, Store(folder / "store"), small_dataset(validation=True)
    assert isinstance(backend, RayBackend)
    asked = {"storage": storage, "num_workers": 2, "checkpoint_seconds": 0, "dtype": "float32", **options}
    spec = JobSpec.model_validate({**JOB, "hyperparameters": HYPERPARAMETERS, "options": {"ray": asked}})
    return store, backend, submit.submit(store, backend, backend.plan(spec, data), data, again=True)


def until_ended(store: Store, backend: RayBackend, job: Job) -> Job:
    while not job.status.is_terminal:
        job = watch.poll_once(store, backend, job.id)
        time.sleep(0.2)
    assert job.status == JobStatus.succeeded, job.error
    return job


def until_step(store: Store, backend: RayBackend, job: Job, step: int) -> None:
    while not any(e.kind == "checkpoint" and e.data["step"] >= step for _, e in store.events(job.id)):
        job = watch.poll_once(store, backend, job.id)
        assert not job.status.is_terminal, job.error
        time.sleep(0.05)


def workers(cluster: tuple[Path, Rehearsal]) -> list[int]:
    """Return the processes of this cluster's workers, told from others by the cluster's token."""
    import psutil

    token = json.loads((cluster[0] / "cluster" / "cluster.json").read_text())["token"]
    found = []
    for process in psutil.process_iter(["cmdline"]):
        is_worker = any("RayTrainWorker" in part for part in process.info["cmdline"] or ())
        if is_worker and process.environ().get("RAY_AUTH_TOKEN") == token:
            found.append(process.pid)
    return found


def kill_worker(cluster: tuple[Path, Rehearsal], run: Path, *, first: bool) -> None:
    """End the worker that holds the run folder, or another one, with SIGKILL."""
    holder = json.loads((run / "process.json").read_text())["pid"]
    (victim,) = [pid for pid in workers(cluster) if (pid == holder) == first]
    os.kill(victim, signal.SIGKILL)


def starts(store: Store, job: Job) -> int:
    return sum(e.id.startswith("started-") for _, e in store.events(job.id))


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.timeout(900)
def test_a_job_whose_workers_die_ends_with_the_weights_of_an_undisturbed_one(
    cluster: tuple[Path, Rehearsal], tmp_path: Path
) -> None:
    store, backend, job = started(cluster, tmp_path / "a", str(tmp_path / "runs"))
    undisturbed = until_ended(store, backend, job)
    store, backend, job = started(cluster, tmp_path / "b", str(tmp_path / "runs"))
    run = tmp_path / "runs" / job.id
    until_step(store, backend, job, 5)
    kill_worker(cluster, run, first=False)
    while starts(store, job) < 2:
        watch.poll_once(store, backend, job.id)
        time.sleep(0.2)
    until_step(store, backend, job, 20)
    kill_worker(cluster, run, first=True)
    ended = until_ended(store, backend, job)
    assert starts(store, ended) == 3
    assert weights(run) == weights(tmp_path / "runs" / undisturbed.id)
    assert metrics(run) == metrics(tmp_path / "runs" / undisturbed.id)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.timeout(900)
def test_parts_of_a_model_and_copied_folders_give_the_weights_of_one_process(
    cluster: tuple[Path, Rehearsal], tmp_path: Path
) -> None:
    """FSDP2 on two workers that copy their run folder from a place of fsspec and lose the first of them on the way."""
    import torch
    from safetensors.torch import load_file

    storage = tmp_path / "bucket"
    store, backend, job = started(cluster, tmp_path / "a", f"local://{storage}", sharding="fsdp")
    until_step(store, backend, job, 5)
    kill_worker(cluster, storage / job.id, first=True)
    job = until_ended(store, backend, job)
    found = backend.download(job, backend.artifacts(job)[0], tmp_path / "got")
    alone = make_run(tmp_path / "alone")
    RunConfig.read(storage / job.id).model_copy(update={"sharding": "none"}).write(alone)
    assert train(alone) == 0
    one, two = (
        load_file(alone / "adapter" / "adapter_model.safetensors"),
        load_file(found / "adapter_model.safetensors"),
    )
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-3, rtol=2e-3, msg=name)
