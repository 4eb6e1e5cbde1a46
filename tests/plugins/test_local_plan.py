"""What becomes of a job's fields on the local backend, where one depends on another."""

from typing import Any

import pytest

from tunebridge.data.dataset import Dataset
from tunebridge.plan import Plan
from tunebridge.spec import JobSpec
from tunebridge.testing.case import small_dataset
from tunebridge_local.backend import LocalBackend

PREFERENCES = small_dataset(kind="preference", validation=True)


def plan(dataset: Dataset, **fields: Any) -> Plan:
    spec = JobSpec.model_validate(
        {"backend": "local", "base_model": "tunebridge/nano", "data": {"train": "rows.jsonl"}, **fields}
    )
    return LocalBackend().plan(spec, dataset)


def refused(found: Plan) -> dict[str, str]:
    return {line.field: line.reason for line in found.refused}


def test_preference_rows_choose_dpo() -> None:
    found = plan(PREFERENCES)
    assert found.refused == ()
    assert (found.payload["method"], found.payload["beta"]) == ("dpo", 0.1)
    assert found.payload["learning_rate"] == pytest.approx(5e-4)
    assert "beta" not in plan(small_dataset()).payload


@pytest.mark.parametrize(("method", "rows"), [("sft", PREFERENCES), ("dpo", small_dataset())])
def test_rows_that_the_method_cannot_use_are_refused(method: str, rows: Dataset) -> None:
    assert f"for {method}, rows of kind" in refused(plan(rows, method=method))["data.train"]


def test_judged_rows_choose_kto() -> None:
    judged = small_dataset(kind="kto")
    found = plan(judged)
    assert found.refused == ()
    assert (found.payload["method"], found.payload["beta"]) == ("kto", 0.1)
    wrong = plan(judged, method={"type": "kto", "adapter": "full"}, hyperparameters={"batch_size": 1})
    assert refused(wrong).keys() == {"method.adapter.type", "hyperparameters.batch_size"}


def test_the_batch_size_may_be_left_to_the_trainer() -> None:
    assert plan(small_dataset(), hyperparameters={"batch_size": "auto"}).payload["batch_size"] == "auto"
    assert plan(small_dataset()).payload["batch_size"] == 16


def test_a_beta_without_effect_is_refused() -> None:
    assert refused(plan(small_dataset(), method={"type": "sft", "beta": 0.2})).keys() == {"method.beta"}
    assert plan(PREFERENCES, method={"type": "dpo", "beta": 0.2}).refused == ()


def test_what_needs_validation_rows_is_refused_without_them() -> None:
    found = plan(small_dataset(), hyperparameters={"early_stopping_patience": 2}, options={"local": {"keep": "best"}})
    assert refused(found).keys() == {"hyperparameters.early_stopping_patience", "options.local.keep"}


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, "last"),
        ({"hyperparameters": {"early_stopping_patience": 2}}, "best"),
        ({"hyperparameters": {"early_stopping_patience": 2}, "options": {"local": {"keep": "last"}}}, "last"),
        ({"options": {"local": {"keep": "best"}}}, "best"),
    ],
)
def test_which_weights_are_kept(fields: dict[str, Any], kept: str) -> None:
    found = plan(small_dataset(validation=True), **fields)
    assert found.refused == ()
    assert found.payload["keep"] == kept
