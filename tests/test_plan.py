"""A plan accounts for every field that is set, whatever the job sets, and is the same each time."""

from typing import Any, ClassVar

import pytest

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

from tests.data.targets import target  # noqa: E402
from tests.fakes import fake_spec  # noqa: E402
from tunebridge.backend import Backend  # noqa: E402
from tunebridge.data.dataset import Dataset, Split  # noqa: E402
from tunebridge.data.example import Example, Message  # noqa: E402
from tunebridge.plan import Plan, Translation  # noqa: E402
from tunebridge.spec import JobSpec  # noqa: E402
from tunebridge.testing.case import small_dataset  # noqa: E402
from tunebridge.testing.fake import FakeBackend, fake_info  # noqa: E402
from tunebridge.testing.plan_checks import ADAPTERS, FEATURES, METHODS, SAMPLES, with_field  # noqa: E402
from tunebridge.testing.service import FakeService  # noqa: E402
from tunebridge_local.backend import LocalBackend  # noqa: E402

ROWS = small_dataset(validation=True)
OPTIONS = {"fake": {"priority": 3}, "local": {"threads": 2, "device": "cpu"}}


@pytest.fixture(scope="module", params=["fake", "local"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """Each backend whose plans are looked at; planning needs nothing but the core."""
    folder = tmp_path_factory.mktemp("service")
    return LocalBackend() if request.param == "local" else FakeBackend(FakeService(folder), fake_info(folder))


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Return the values of any job: some fields set, some of those that cannot be honoured dropped with leave."""
    spec = JobSpec.model_validate({"backend": "fake", "base_model": "random", "data": {"train": "rows.jsonl"}})
    spec = with_field(spec, "method.type", draw(st.sampled_from(METHODS)))
    adapter = draw(st.sampled_from(ADAPTERS))
    for field in draw(st.sets(st.sampled_from(sorted(SAMPLES)))):
        if adapter == "full" and field.startswith("method.adapter."):
            continue
        if "learning_rate" in field and "learning_rate" in str(spec.to_json().get("hyperparameters", {})):
            continue
        spec = with_field(spec, field, draw(st.sampled_from(SAMPLES[field])))
    spec = with_field(spec, "method.adapter.type", adapter)
    spec = with_field(spec, "allow.drop", draw(st.lists(st.sampled_from(sorted(SAMPLES)), unique=True)))
    return {
        **spec.to_json(),
        "options": {name: OPTIONS[name] for name in draw(st.sets(st.sampled_from(list(OPTIONS))))},
    }


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True, database=None)
@hypothesis.given(values=specs())
def test_every_set_field_is_accounted_for(values: dict[str, Any], backend: Backend) -> None:
    spec = JobSpec.model_validate({**values, "backend": backend.info.name})
    plan = backend.plan(spec, ROWS)
    lines = {line.field: line for line in plan.report.fields}
    assert lines.keys() >= spec.set_fields().keys()
    for field in spec.set_fields():
        line = lines[field]
        assert line.outcome != "default"
        assert line.sent_as is not None or line.reason, field
        if line.sent_as:
            assert _sent(plan, line.sent_as) == line.sent
        if line.outcome == "dropped":
            assert field in spec.allow.drop
    again = Plan.model_validate_json(plan.model_dump_json())
    assert (again, again.digest) == (plan, plan.digest)
    assert backend.plan(JobSpec.model_validate(plan.spec), ROWS).digest == plan.digest


def _sent(plan: Plan, path: str) -> Any:
    target: Any = plan.payload
    for part in path.split("."):
        target = target[part]
    return target


def test_the_digest_is_of_what_runs(backend: Backend) -> None:
    spec = JobSpec.model_validate({"backend": backend.info.name, "base_model": "random", "data": {"train": "a"}})
    plan = backend.plan(spec, ROWS)
    renamed = backend.plan(with_field(spec, "name", "another name"), ROWS)
    other_seed = backend.plan(with_field(spec, "hyperparameters.seed", 9), ROWS)
    other_rows = backend.plan(spec, small_dataset(rows=5))
    assert plan.digest == renamed.digest
    assert len({plan.digest, other_seed.digest, other_rows.digest}) == 3


@pytest.mark.parametrize("lossy", ["error", "warn", "allow"])
def test_what_rows_lose_is_refused_told_or_allowed(lossy: str, tmp_path: Any) -> None:
    turns = (*FEATURES["reasoning"], Message(role="assistant", content="red"))
    rows = Dataset(Split((Example(messages=turns), *small_dataset().train)))
    plan = FakeBackend(FakeService(tmp_path), fake_info(tmp_path)).plan(
        with_field(fake_spec(), "data.lossy", lossy), rows
    )
    assert ("data.train" in {line.field for line in plan.refused}) == (lossy == "error")
    assert any("1 of 13 rows have reasoning" in warning for warning in plan.warnings) == (lossy == "warn")


class SendsTurns(FakeBackend):
    """The fake backend, sending its rows in a shape of its own."""

    def plan(self, spec: JobSpec, dataset: Dataset) -> Plan:
        job = Translation(spec, dataset, backend="fake", capabilities=self.info.capabilities)
        job.base_model("model")
        job.rows_as(target(**self.limits))
        return job.plan()

    limits: ClassVar[dict[str, object]] = {}


def lossy_rows(*more: Example) -> Dataset:
    """Return rows of which one loses its name and one cannot be sent."""
    named = Example(messages=(Message(role="user", content="a", name="kari"), Message(role="assistant", content="b")))
    return Dataset(Split((*small_dataset().train, named, *more)))


@pytest.mark.parametrize("lossy", ["error", "warn", "allow"])
def test_a_target_says_what_becomes_of_each_row(lossy: str, tmp_path: Any) -> None:
    backend = SendsTurns(FakeService(tmp_path), fake_info(tmp_path))
    spec = with_field(fake_spec(), "data.lossy", lossy)
    plan = backend.plan(spec, lossy_rows())
    assert plan.rows is not None
    assert (plan.rows.target, plan.rows.exact, plan.rows.lossy_rows) == ("fake/turns", 12, 1)
    assert (plan.rows.lossy[0].code, plan.rows.lossy[0].places) == ("L-name-dropped", ("row:13",))
    assert bool(plan.refused) == (lossy == "error")
    assert any("L-name-dropped" in warning for warning in plan.warnings) == (lossy == "warn")
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    tools = Example(messages=small_dataset().train.examples[0].messages, tools=({"type": "function"},))
    refused = backend.plan(spec, lossy_rows(tools))
    assert bool(refused.refused) == (lossy != "allow")
    assert any("left out, because" in warning for warning in refused.warnings) == (lossy == "allow")


def test_a_targets_limits_refuse_a_plan(tmp_path: Any) -> None:
    backend = SendsTurns(FakeService(tmp_path), fake_info(tmp_path))
    backend.limits = {"min_rows": 100, "max_validation_rows": 1}  # type: ignore[misc]
    plan = backend.plan(fake_spec(), small_dataset(validation=True))
    assert {line.field for line in plan.refused} >= {"data.train", "data.validation"}
    plain = FakeBackend(FakeService(tmp_path), fake_info(tmp_path)).plan(fake_spec(), small_dataset())
    assert plain.rows is None
    assert (
        plain.digest != SendsTurns(FakeService(tmp_path), fake_info(tmp_path)).plan(fake_spec(), small_dataset()).digest
    )
