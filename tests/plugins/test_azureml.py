"""Azure ML against its emulator, with the unchanged SDK."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunebridge import submit, watch
from tunebridge.backend import GenerationParameters
from tunebridge.data.dataset import Dataset, Split
from tunebridge.data.example import Example, Message
from tunebridge.errors import InvalidRequest, NotFound, ServiceUnavailable, SpecError, StoreError, UnsupportedFeature
from tunebridge.job import Deployment, Job, JobStatus
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.store import Store
from tunebridge.testing.case import BackendCase, small_dataset
from tunebridge.testing.suite import BackendConformance
from tunebridge.training.sources import packaged_nano

pytest.importorskip("azure.ai.ml")
pytestmark = pytest.mark.torch

from tunebridge_azureml.backend import AzureMLBackend  # noqa: E402
from tunebridge_azureml.client import inside, work_prefix  # noqa: E402
from tunebridge_azureml.conformance import JOB, MACHINE, STAND_INS, connected  # noqa: E402
from tunebridge_azureml.emulator import Emulator  # noqa: E402
from tunebridge_azureml.environment import contained  # noqa: E402
from tunebridge_azureml.status import backend_error, job_status  # noqa: E402
from tunebridge_azureml.storage import CONTAINER  # noqa: E402
from tunebridge_azureml.validation import problem_of, problem_of_job  # noqa: E402

NANO_FOLDER = packaged_nano()
QUESTION = [(Message(role="user", content="What is the colour of ball 1?"),)]
MANAGED = {"mode": "finetuning", **STAND_INS, **MACHINE}
MODEL = "azureml://registries/azureml-meta/models/Llama-3.2-1B/versions/3"
FEW_STEPS = {"epochs": 1, "batch_size": 4, "seed": 1}


class TestAzureML(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> BackendCase:
        from tunebridge_azureml.conformance import case

        return case()


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    running = Emulator(tmp_path / "account").start()
    yield running
    running.wire.stop()


def plan(kind: str = "sft", azureml: dict[str, Any] | None = None, **fields: Any) -> Plan:
    options = {"azureml": {**STAND_INS, **MACHINE} if azureml is None else azureml}
    spec = JobSpec.model_validate({**JOB, "hyperparameters": {}, "options": options, **fields})
    return AzureMLBackend().plan(spec, small_dataset(kind=kind))


def refused(made: Plan) -> dict[str, str]:
    return {line.field: line.reason for line in made.refused}


def submitted(emulator: Emulator, folder: Path, **fields: Any) -> tuple[Store, AzureMLBackend, Job]:
    store, backend, data = Store(folder / "store"), connected(emulator), small_dataset(validation=True)
    made = backend.plan(JobSpec.model_validate({**JOB, "hyperparameters": FEW_STEPS, **fields}), data)
    return store, backend, submit.submit(store, backend, made, data, again=True)


def finished(emulator: Emulator, folder: Path, **fields: Any) -> tuple[Store, AzureMLBackend, Job]:
    store, backend, job = submitted(emulator, folder, **fields)
    return store, backend, followed(store, backend, job)


def followed(store: Store, backend: AzureMLBackend, job: Job) -> Job:
    """Return the job at its end; asks more often than `watch`, which keeps to the service's rhythm."""
    while not job.status.is_terminal:
        time.sleep(0.2)
        job = watch.poll_once(store, backend, job.id)
    return job


def test_a_plan_keeps_machine_and_run_apart() -> None:
    made = plan(azureml={**STAND_INS, **MACHINE, "job_tier": "Spot", "evaluations": 3}, method={"adapter": {"rank": 8}})
    assert made.connection == {**STAND_INS, "mode": "command", "datastore": "workspaceblobstore"}
    assert made.payload["request"] == {**MACHINE, "job_tier": "Spot"}
    assert (made.payload["run"]["evaluations"], made.payload["run"]["adapter"]["rank"]) == (3, 8)
    assert not made.refused


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"base_model": str(NANO_FOLDER)}, "base_model", "does not have this folder"),
        ({"azureml": {**MANAGED, "image": "mine"}, "base_model": MODEL}, "options.azureml.image", "does not use it"),
        ({"azureml": {**MANAGED, "threads": 2}, "base_model": MODEL}, "options.azureml.threads", "does not use it"),
        ({"azureml": MANAGED, "base_model": "gpt2"}, "base_model", "azureml://registries/"),
        ({"azureml": MANAGED, "base_model": MODEL, "kind": "text"}, "data.train", "TextCompletion"),
        ({"azureml": {**STAND_INS, **MACHINE, "task": "ChatCompletion"}}, "options.azureml.task", "does not use it"),
        ({"hyperparameters": {"learning_rate_multiplier": 2.0}}, "hyperparameters.learning_rate_multiplier", "nothing"),
        ({"azureml": MANAGED, "base_model": MODEL, "method": "dpo"}, "method.type", "not offered"),
    ],
)
def test_what_cannot_be_done_is_refused(fields: dict[str, Any], field: str, says: str) -> None:
    assert says in refused(plan(**fields))[field]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "either compute"),
        ({"compute": "gpu", **MACHINE}, "either compute"),
        ({"compute": "gpu", "job_tier": "Spot"}, "a tier of its own"),
        ({**MACHINE, "environment": "azureml:mine:1", "image": "mine"}, "already names an image"),
    ],
)
def test_contradictions_between_options_are_named(options: dict[str, str], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        plan(azureml={**STAND_INS, **options})


def test_a_managed_job_refuses_rows_that_it_would_cut() -> None:
    turns = (Message(role="user", content="?", name="ann"), Message(role="assistant", content="!"))
    data = Dataset(Split((Example(messages=turns),)))
    spec = JobSpec.model_validate({**JOB, "base_model": MODEL, "hyperparameters": {}, "options": {"azureml": MANAGED}})
    assert "row 1 has name" in refused(AzureMLBackend().plan(spec, data))["data.train"]


def test_every_state_of_the_sdk_is_known() -> None:
    from azure.ai.ml._restclient.arm_ml_service.models import JobStatus as Theirs

    words = {str(word.value) for word in Theirs}
    assert {word for word in words if job_status(word) == JobStatus.unknown} == {"Unknown"}
    assert {word for word in words if job_status(word).is_terminal} == {"Completed", "Failed", "Canceled"}


def test_a_life_from_rows_to_an_answer(emulator: Emulator, tmp_path: Path) -> None:
    before = dict(os.environ)
    store, backend, job = finished(emulator, tmp_path, base_model="tunebridge/nano")
    assert job.status == JobStatus.succeeded, job.error
    assert job.usage.training_seconds
    assert {metric.name for metric in store.metrics(job.id)} >= {"train_loss", "validation_loss"}
    assert any(event.kind == "progress" for _, event in store.events(job.id))
    (adapter,) = backend.artifacts(job)
    path = backend.download(job, adapter, tmp_path / "results")
    assert (path / "adapter_model.safetensors").exists()
    with pytest.raises(StoreError, match="exists already"):
        backend.download(job, adapter, tmp_path / "results")
    assert len(list(backend.generate(job, QUESTION * 2, GenerationParameters(max_tokens=4)))) == 2
    backend.delete(job)
    assert list(backend.artifacts(job)) == []
    assert dict(os.environ) == before


def test_an_endpoint_answers_as_the_adapter_does_here(emulator: Emulator, tmp_path: Path) -> None:
    _, backend, job = finished(emulator, tmp_path, base_model="tunebridge/nano")
    here = list(backend.generate(job, QUESTION * 5, GenerationParameters(max_tokens=4)))
    quoted = backend.quote(job)
    assert "Standard_NC24ads_A100_v4" in quoted.price_note
    job = job.model_copy(update={"deployment": quoted})
    standing: Deployment | None = backend.deploy(job)
    while standing is not None and not standing.is_ready:
        time.sleep(0.1)
        standing = backend.deployment(job)
    assert list(backend.generate(job, QUESTION * 5, GenerationParameters(max_tokens=4))) == here
    backend.undeploy(job)
    assert backend.deployment(job) is None
    with pytest.raises(NotFound):
        list(backend.generate(job, QUESTION, GenerationParameters(max_tokens=4)))
    with emulator._shelf.opened() as state:
        assert not state["endpoints"]


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ({"authMode": "Key"}, None),
        ({"authMode": "Open"}, "'Open' is not among"),
        ({"authMode": "Key", "machine": "x"}, "unknown field 'machine'"),
    ],
)
def test_the_emulator_holds_endpoints_against_the_sdk_models(properties: dict[str, Any], says: str | None) -> None:
    problem = problem_of(properties, "OnlineEndpointProperties")
    assert problem is None if says is None else problem is not None and says in problem


def test_a_model_of_the_hub_has_a_stand_in_and_that_is_said(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, job = finished(emulator, tmp_path, base_model="Qwen/Qwen3-0.6B")
    assert job.status == JobStatus.succeeded, job.error
    warned = [event.message for _, event in store.events(job.id) if event.kind == "warning"]
    assert any("the shipped model stands in for Qwen/Qwen3-0.6B" in message for message in warned)
    assert list(backend.generate(job, QUESTION, GenerationParameters(max_tokens=2)))


def test_a_managed_job_trains_without_validation_rows(emulator: Emulator, tmp_path: Path) -> None:
    store, backend, data = Store(tmp_path / "store"), connected(emulator), small_dataset()
    fields = {"base_model": MODEL, "options": {"azureml": MANAGED}, "hyperparameters": FEW_STEPS}
    job = submit.submit(store, backend, backend.plan(JobSpec.model_validate({**JOB, **fields}), data), data)
    (asked,) = (record["asked"] for record in emulator.jobs().values())
    assert asked["fineTuningDetails"]["hyperParameters"] == {
        "num_train_epochs": "1",
        "per_device_train_batch_size": "4",
        "seed": "1",
    }
    job = followed(store, backend, job)
    assert job.status == JobStatus.succeeded, job.error
    (model,) = backend.artifacts(job)
    assert model.uri == f"azureml:{job.id}-model:1"
    with pytest.raises(UnsupportedFeature, match="no endpoint"):
        list(backend.generate(job, QUESTION, GenerationParameters()))


def test_nothing_of_the_working_folder_is_sent_unless_asked(emulator: Emulator, tmp_path: Path) -> None:
    submitted(emulator, tmp_path)
    options = {"azureml": {**JOB["options"]["azureml"], "git_details": True}}  # type: ignore[index]
    submitted(emulator, tmp_path, options=options)
    first, second = (record["asked"].get("properties") or {} for record in emulator.jobs().values())
    assert not any("git" in name for name in first)
    assert any("git" in name for name in second)


def test_the_same_source_is_uploaded_once(emulator: Emulator, tmp_path: Path) -> None:
    for _ in range(2):
        submitted(emulator, tmp_path)
    with emulator._shelf.opened() as state:
        assert (len(state["codes"]), len(state["environments"]), len(state["jobs"])) == (1, 1, 2)


def test_a_stored_name_that_leads_elsewhere_is_not_written(emulator: Emulator, tmp_path: Path) -> None:
    _, backend, job = submitted(emulator, tmp_path)
    folder = tmp_path / "account" / "blobs" / CONTAINER / work_prefix(job.id) / "adapter"
    folder.mkdir(parents=True)
    (folder / "..\\outside").write_text("harm")
    with pytest.raises(StoreError, match="leads out of the folder"):
        backend._connect(job.connection).download(job.id, "adapter", tmp_path / "results" / "adapter")
    for name in ("../x", "/etc/x", "a/../../x", "C:x", ""):
        with pytest.raises(StoreError):
            inside(tmp_path, name)
    assert inside(tmp_path, "a/b") == tmp_path / "a" / "b"


def test_the_reason_of_a_failed_run_is_the_trainers(emulator: Emulator, tmp_path: Path) -> None:
    _, _, job = finished(emulator, tmp_path, hyperparameters={**FEW_STEPS, "max_length": 8})
    assert job.status == JobStatus.failed
    assert job.error is not None
    assert "longer than max_length 8" in job.error


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"command": None}, "properties.command: is required"),
        ({"command": 3}, "properties.command: str was expected"),
        ({"commmand": "x"}, "unknown field 'commmand'"),
        ({"jobType": "Comand"}, "'Comand' is no known kind"),
        ({"inputs": {"run": {"jobInputType": "uri_folder"}}}, "properties.inputs.run.uri: is required"),
        ({"tags": {"a": 1}}, "properties.tags.a: str was expected"),
        ({}, None),
    ],
)
def test_the_emulator_refuses_what_the_sdk_models_do_not_allow(change: dict[str, Any], says: str | None) -> None:
    asked = {"jobType": "Command", "command": "true", "environmentId": "e", "inputs": {}, "tags": {"a": "b"}}
    problem = problem_of_job("name", {**asked, **change})
    assert problem is None if says is None else problem is not None and says in problem


def test_a_workspace_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZUREML_ARM_SUBSCRIPTION", raising=False)
    check = AzureMLBackend().check()
    assert not check.ok
    assert "AZUREML_ARM_SUBSCRIPTION" in check.detail
    with pytest.raises(InvalidRequest):
        list(AzureMLBackend().list_jobs())


def test_no_signature_is_said() -> None:
    class ServiceRequestError(Exception):
        message = "Max retries exceeded with url: /container/blob?sv=1&sig=c2VjcmV0"

    class HttpResponseError(Exception):
        status_code, message = 409, "The blob https://a/b?sig=c2VjcmV0&x=1 is there."

    lost, told = backend_error(ServiceRequestError(), "poll"), backend_error(HttpResponseError(), "poll")
    assert isinstance(lost, ServiceUnavailable)
    assert "ServiceRequestError" in str(lost)
    assert "sig=...&x=1 is there" in str(told)
    assert "c2VjcmV0" not in f"{lost}{told}"


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.plugins.test_azureml import submitted
from tunebridge_azureml.emulator import Emulator

class Deadly(Emulator):
    def _put_job(self, request):
        if sys.argv[2] == "after":
            super()._put_job(request)
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
submitted(Deadly(folder / "account").start(), folder)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_submit_leaves_one_job(moment: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), moment]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent.parent, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    emulator = Emulator(tmp_path / "account").start()
    assert len(emulator.jobs()) == (moment == "after")
    store = Store(tmp_path / "store")
    (job,) = store.list()
    with store.exclusive(job.id):
        settled = submit.settle(store, connected(emulator), job.id)
    assert settled.backend_id == job.id
    assert list(emulator.jobs()) == [job.id]
    emulator.wire.stop()


def test_the_environment_is_put_back_whatever_happens() -> None:
    before = dict(os.environ)

    def leave_traces() -> None:
        with contained({"PATH": "/elsewhere", "AZUREML_NEW": "1"}):
            os.environ["LEFT_BY_THE_SDK"] = "1"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave_traces()
    assert dict(os.environ) == before


@pytest.mark.parametrize("trials", [8, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_each_lost_answer_leaves_one_job(
    trials: int, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "RETRY_SECONDS", 0.001)
    draw = random.Random(1)
    for number in range(trials):
        fault = draw.choice(("unavailable_after", "dropped_after", "unavailable_before", "rate_limited"))
        emulator.faults.inject(fault)
        _, _, job = submitted(emulator, tmp_path)
        assert job.backend_id, f"trial {number}: {fault}"
    assert len(emulator.jobs()) == trials
