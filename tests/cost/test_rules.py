"""Each service's own rule, held against what the vendors say: their worked examples, recomputed."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cost.jobs import TODAY, estimate, lengths, plan, workload
from tunebridge.cost.bill import ServeTokens
from tunebridge.cost.price import Price, PriceBook
from tunebridge_openai.pricing import MOST_TOKENS, auto_epochs

MILLION = 1_000_000
AZURE = {"service": "azure", "base_url": "https://mine.openai.azure.com/openai/v1/"}


def openai(model: str, epochs: int | None, **options: Any) -> Any:
    hyperparameters = {} if epochs is None else {"epochs": epochs}
    return plan("openai", {"base_model": model, "hyperparameters": hyperparameters, "options": {"openai": options}})


def likely(made: Any, load: Any, book: PriceBook | None = None) -> Decimal:
    found = estimate(made, load, book).once
    assert found
    return found.likely


def test_openai_bills_tokens_times_epochs() -> None:
    assert likely(openai("gpt-4.1-mini", 3), workload(lengths(100_000))) == Decimal("0.98304")  # cut at 65,536
    assert likely(openai("gpt-4o-mini-2024-07-18", 3), workload(lengths(*[1000] * 100))) == Decimal("0.9")


def test_openai_cuts_rows_and_bills_no_validation() -> None:
    long, cut = (likely(openai("gpt-4.1", 1), workload(lengths(n), lengths(5000))) for n in (10**6, MOST_TOKENS))
    assert long == cut == Decimal("1.6384")


# https://cookbook.openai.com/examples/chat_finetuning_data_prep: 3 epochs, at least 100 and at most 25,000 rows seen.
@pytest.mark.parametrize(
    ("rows", "epochs"), [(2, 25), (4, 25), (10, 10), (100, 3), (1000, 3), (25_000, 1), (90_000, 1)]
)
def test_auto_epochs_follow_the_cookbook(rows: int, epochs: int) -> None:
    found = auto_epochs(rows)
    assert found.low == 1
    assert round(found.likely) == epochs
    assert found.high >= 4


@given(rows=st.integers(1, 100_000))
def test_a_row_more_never_costs_less_however_the_service_chooses_epochs(rows: int) -> None:
    one, more = (auto_epochs(count) * count for count in (rows, rows + 1))
    rounding = 1 + 1e-12
    assert one.low <= more.low * rounding
    assert one.likely <= more.likely * rounding
    assert one.high <= more.high * rounding


def test_azures_example_of_supervised_tuning_contradicts_its_price_list() -> None:
    # MicrosoftDocs/azure-ai-docs, how-to-fine-tuning-cost-management-content.md, 2026-03-19: GPT-4.1, global training,
    # 1M tokens, 2 epochs: "$2 / 1M tokens x 1M training tokens x 2 epochs = $4". The rule is the same, the rate is not:
    # Azure's own meter for that training is $25, so the bill would be $50.
    job = openai("gpt-4.1", 2, **AZURE, training_type="GlobalStandard")
    load = workload(lengths(*[2000] * 500))
    contract = Price.model_validate(
        {
            "backend": "openai",
            "meter": "training",
            "sku": "gpt-4.1-2025-04-14",
            "unit": "1M tokens",
            "usd": "2",
            "source_url": "the example",
            "as_of": TODAY,
            "confidence": "high",
            "origin": "price file",
        }
    )
    assert likely(job, load, PriceBook([[contract]])) == 4
    assert likely(job, load) == 50


def test_azures_example_of_a_month_of_serving() -> None:
    # The same page: o4-mini, 20M tokens in and 40M out, "(1.70 x 30 x 24) + (22 + 176) = $1422". A month here has
    # 730 hours, as in Azure's calculator, so that hosting comes to $1,241 and the month to $1,439.
    job = openai("gpt-4.1-mini", 2, **AZURE, training_type="GlobalStandard")
    found = estimate(job, workload(lengths(1000), serve=ServeTokens(input=20 * MILLION, output=40 * MILLION)))
    hosting, answers = found.by_component["hosting"], found.by_component["inference"]
    assert hosting
    assert hosting.likely == Decimal("1241")
    assert hosting.likely * 720 / 730 == Decimal("1224")
    assert answers
    assert answers.likely == 20 * Decimal("0.4") + 40 * Decimal("1.6")
    assert any("costs more than the job itself" in warning for warning in found.warnings)


def test_a_developer_deployment_has_no_hourly_fee() -> None:
    found = estimate(openai("gpt-4.1", 1, **AZURE, sku="Developer"), workload(lengths(1000)))
    assert found.monthly
    assert found.monthly.high == 0


def test_azures_tiers_have_their_own_prices() -> None:
    load = workload(lengths(*[50_000] * 20))
    prices = {
        tier: likely(openai("gpt-4.1", 1, **AZURE, training_type=tier), load)
        for tier in ("GlobalStandard", "Standard", "Developer")
    }
    assert prices == {"GlobalStandard": 25, "Standard": Decimal("27.5"), "Developer": Decimal("12.5")}


def test_fireworks_example_of_a_bill() -> None:
    # A Fireworks bill of $40.59 for about 13.5M tokens at $3 a million: 16.1B to 80B weights, LoRA.
    job = plan(
        "openai",
        {
            "base_model": "qwen2p5-32b",
            "hyperparameters": {"epochs": 1},
            "options": {"openai": {"service": "custom", "base_url": "https://api.fireworks.ai/inference/v1"}},
        },
    )
    assert abs(likely(job, workload(lengths(13_500_000))) - Decimal("40.59")) < Decimal("0.1")


def test_together_bills_validation_for_each_evaluation_that_there_may_be() -> None:
    # https://docs.together.ai/docs/fine-tuning/pricing: (n_epochs x training tokens) + (n_evals x validation tokens);
    # its example of a 16B-class model processes 8192 x 8 x 1000 = 65.5M tokens and 10 x 1M of validation.
    job = plan(
        "openai",
        {
            "base_model": "Qwen/Qwen3-8B",
            "hyperparameters": {"epochs": 10},
            "options": {"openai": {"service": "custom", "base_url": "https://api.together.xyz/v1"}},
        },
    )
    found = estimate(job, workload(lengths(8192 * 8 * 100), lengths(MILLION)))
    validation = found.by_component["validation"]
    assert validation
    assert (validation.low, validation.high) == (0, Decimal("4.8"))
    assert found.once
    assert found.once.high == Decimal("0.48") * (Decimal("65.536") + 10)
    assert any("packing" in warning for warning in found.warnings)


def test_a_server_of_your_own_has_no_price() -> None:
    options = {"service": "custom", "base_url": "http://localhost:8000/v1"}
    found = estimate(openai("mine", 1, **options), workload(lengths(1000)))
    assert (found.status, found.once) == ("no price", None)


def test_vertex_bills_the_rows_tokens_times_the_epochs() -> None:
    options = {"vertexai": {"project": "p", "bucket": "my-bucket"}}
    values = {"base_model": "gemini-2.5-flash", "hyperparameters": {"epochs": 4}, "options": options}
    assert likely(plan("vertexai", values), workload(lengths(*[5000] * 50))) == 5
    found = estimate(plan("vertexai", {**values, "hyperparameters": {}}), workload(lengths(*[5000] * 50)))
    assert found.once
    assert (found.once.low, found.once.likely, found.once.high) == (Decimal("1.25"), Decimal("3.75"), Decimal("12.5"))


def test_a_model_without_a_price_says_so() -> None:
    options = {"vertexai": {"project": "p", "bucket": "my-bucket"}}
    found = estimate(plan("vertexai", {"base_model": "gemini-3.5-flash", "options": options}), workload(lengths(1000)))
    assert (found.status, found.once) == ("no price", None)
    assert "has no price" in found.reasons[0]


AMAZON = {"region": "us-east-1", "role_arn": "arn:aws:iam::123456789012:role/tuner", "bucket": "my-bucket"}


def test_bedrock_and_serverless_jobs_wait_for_the_price_list_of_amazon() -> None:
    nova = plan("bedrock", {"base_model": "amazon.nova-lite-v1:0:300k", "options": {"bedrock": AMAZON}})
    group = "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/mine"
    options = {"sagemaker": {**AMAZON, "mode": "serverless", "model_package_group_arn": group}}
    serverless = plan("sagemaker", {"base_model": "huggingface-reasoning-qwen3-1-7b", "options": options})
    for job, epochs in ((nova, 2), (serverless, 2)):
        found = estimate(job, workload(lengths(*[1000] * 100)))
        assert (found.status, found.once) == ("no price", None)
        assert found.lines[0].quantity.likely == pytest.approx(0.1 * epochs)
        assert "tunebridge prices refresh" in found.reasons[0]


def test_a_machine_that_is_rented_is_billed_from_its_start() -> None:
    job = plan("sagemaker", {"base_model": "Qwen/Qwen3-0.6B", "options": {"sagemaker": AMAZON}})
    found = estimate(job, workload(lengths(*[500] * 1000), lengths(*[500] * 100)))
    assert found.place == "ml.g6.2xlarge"
    assert found.hours
    assert found.hours.low > 4 / 60
    assert found.once
    assert float(found.once.likely) == pytest.approx(1.222 * found.hours.likely, rel=1e-4)
    assert found.by_component["validation"]
    assert "STALE" in " ".join(found.warnings)


def test_a_mixture_of_experts_computes_with_its_active_weights() -> None:
    options = {"sagemaker": {**AMAZON, "instance_type": "ml.p5.4xlarge"}}
    load = workload(lengths(*[500] * 10_000))
    dense, mixture = (
        estimate(plan("sagemaker", {"base_model": name, "options": options}), load).hours
        for name in ("Qwen/Qwen3-30B", "Qwen/Qwen3-30B-A3B")
    )
    assert dense
    assert mixture
    assert mixture.likely < dense.likely
    assert mixture.high / mixture.low > dense.high / dense.low


def test_the_gpu_of_this_machine_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA GeForce RTX 4090\n")
    program.chmod(0o700)
    load = workload(lengths(*[500] * 1000))
    slow = estimate(plan("local", {"base_model": "Qwen/Qwen3-0.6B"}), load)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    fast = estimate(plan("local", {"base_model": "Qwen/Qwen3-0.6B"}), load)
    assert fast.hours
    assert slow.hours
    assert fast.hours.likely < slow.hours.likely / 10
    assert "RTX 4090" in " ".join(fast.assumptions)


def test_rows_that_the_run_will_refuse_are_told() -> None:
    job = plan("sagemaker", {"base_model": "Qwen/Qwen3-0.6B", "options": {"sagemaker": AMAZON}})
    found = estimate(job, workload(lengths(500, 3000, 4000)))
    assert "2 of 3 rows are longer than max_length 2,048" in " ".join(found.warnings)


def test_a_limit_in_hours_bounds_the_bill() -> None:
    values = {"base_model": "Qwen/Qwen3-0.6B", "options": {"sagemaker": AMAZON}, "hyperparameters": {"epochs": 100}}
    load = workload(lengths(*[500] * 10_000))
    free, bound = (
        estimate(plan("sagemaker", {**values, "budget": budget}), load) for budget in ({}, {"max_hours": 0.5})
    )
    assert free.hours
    assert bound.hours
    assert bound.hours.high < 1 < free.hours.likely


def test_a_job_that_cannot_be_ordered_any_more_is_closed() -> None:
    found = estimate(openai("gpt-4.1", 1), workload(lengths(1000)), today=TODAY.replace(year=2027))
    assert found.status == "closed"
