"""Models on this machine: a finished job beside its base, and what an evaluation of them refuses."""

import json
from contextlib import chdir
from pathlib import Path

import pytest

pytest.importorskip("httpx2")
pytest.importorskip("numpy")

from tests.evaluation.rows import rows, write
from tunebridge.backend import GenerationParameters
from tunebridge.client import Client
from tunebridge.data.example import Message
from tunebridge.errors import EvaluationError
from tunebridge.evaluation.evaluate import Evaluated
from tunebridge.evaluation.models.local import LocalModel
from tunebridge.evaluation.request import Request
from tunebridge.job import Job
from tunebridge.training.config import ADAPTER_FOLDER

pytestmark = pytest.mark.torch

JOB = """
backend: local
base_model: random
data: {train: train.jsonl}
hyperparameters: {epochs: 1, batch_size: 4}
options: {local: {threads: 1}}
"""
PARAMETERS = GenerationParameters(max_tokens=4)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished job, its training rows and others beside it."""
    folder = tmp_path_factory.mktemp("home")
    write(folder / "train.jsonl", rows(8))
    write(folder / "test.jsonl", rows(45)[8:])
    (folder / "job.yaml").write_text(JOB)
    with chdir(folder):
        client = Client(folder / "store")
        client.wait(client.submit("job.yaml").id, timeout_seconds=200)
    return folder


@pytest.fixture
def client(home: Path) -> Client:
    """A client of that store."""
    return Client(home / "store")


def job_of(client: Client) -> Job:
    """Return the store's job."""
    return client.get("last", refresh=False)


def evaluated(client: Client, data: Path, **models: str) -> Evaluated:
    """Evaluate the job against its base, and further models."""
    request = Request(data=data, job="last", models=models, parameters=PARAMETERS)
    return client.evaluations.evaluate(client.evaluations.plan(request))


def test_a_job_and_its_base_answer_from_one_process(client: Client, home: Path) -> None:
    adapter = job_of(client).folder / "run" / ADAPTER_FOLDER
    done = evaluated(client, home / "test.jsonl", again=f"random+{adapter}")
    assert len(client.evaluations._hosts) == 1
    assert [model.asked_rows for model in done.result.models] == [37, 37, 0]  # the last one is the job's own adapter
    prompts = [[Message(role="user", content=row.text)] for row in done.plan.task.rows]
    for name, target, backend in (("base", "random", "local"), ("tuned", "last", None)):
        said = [answer.output for answer in client.generate(target, prompts, PARAMETERS, backend=backend)]
        assert [done.books[name][row.key].output for row in done.plan.task.rows] == said
    assert done.result.verdicts.keys() == {"tuned", "again"}


def test_rows_that_the_job_was_trained_on_are_refused(client: Client, home: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"These are the very rows that job tb-\S+ was trained on"):
        evaluated(client, home / "train.jsonl")
    asked = rows(45)[6:]
    for row in asked:
        row["messages"][-1]["content"] = "another answer"
        del row["id"]
    with pytest.raises(EvaluationError, match=r"2 of 39 rows ask what job tb-\S+ was trained on, ids '0', '1'"):
        evaluated(client, write(tmp_path / "rows.jsonl", asked))


def test_another_chat_template_is_refused(client: Client, home: Path) -> None:
    template = job_of(client).folder / "run" / ADAPTER_FOLDER / "chat_template.jinja"
    kept = template.read_text()
    template.write_text(kept + "{# changed #}")
    try:
        with pytest.raises(EvaluationError, match="was trained with the chat template sha256:"):
            evaluated(client, home / "test.jsonl")
        request = Request(data=home / "test.jsonl", models={"a": f"random+{template.parent}"})
        with pytest.raises(EvaluationError, match="the adapter .* was trained with the chat template"):
            client.evaluations.plan(request)
    finally:
        template.write_text(kept)


def test_an_adapter_alone_names_its_base(client: Client) -> None:
    adapter = job_of(client).folder / "run" / ADAPTER_FOLDER
    model = client.evaluations.model(str(adapter)).model
    assert isinstance(model, LocalModel)
    assert model.host.base_model == json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]


def test_what_is_no_model_is_said(client: Client) -> None:
    with pytest.raises(EvaluationError, match="'nonsense' is no model: there is no job of that id. Give a job's id"):
        client.evaluations.model("nonsense")
    with pytest.raises(EvaluationError, match="names no model"):
        client.evaluations.model("http://127.0.0.1/v1")
