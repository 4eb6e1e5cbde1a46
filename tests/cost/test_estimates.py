"""Estimates as a whole: sums, order, what is missing, many backends side by side."""

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cost.jobs import TODAY, estimate, lengths, plan, workload
from tests.fakes import fake_client, write_job
from tunebridge.client import Client
from tunebridge.cost.bill import MONTHLY, ServeTokens
from tunebridge.cost.calibration import Finished, calibrated, write_calibration
from tunebridge.cost.comparison import Comparison, compare
from tunebridge.cost.constants import load_constants
from tunebridge.cost.estimate import CostEstimate, unpriced
from tunebridge.cost.interval import MICRO, Cost
from tunebridge.cost.price import PriceBook, read_prices
from tunebridge.costs import EstimateOptions, serve_tokens
from tunebridge.errors import SpecError

pytest.importorskip("tiktoken", reason="tokens are counted with the extra `tokens`")

OFFLINE = EstimateOptions(probe=False, today=TODAY)
AMAZON = {"region": "us-east-1", "role_arn": "arn:aws:iam::123456789012:role/tuner", "bucket": "my-bucket"}
JOBS = {
    "openai": {"base_model": "gpt-4.1-mini", "options": {"openai": {}}},
    "vertexai": {"base_model": "gemini-2.5-flash", "options": {"vertexai": {"project": "p", "bucket": "my-bucket"}}},
    "sagemaker": {"base_model": "Qwen/Qwen3-0.6B", "options": {"sagemaker": AMAZON}},
    "huggingface": {"base_model": "Qwen/Qwen3-0.6B"},
}
JOB = """
backend: {chosen}
base_model: {{local: tunebridge/nano, openai: gpt-4.1-mini, vertexai: gemini-2.5-flash, huggingface: tunebridge/nano}}
data: {{train: rows.jsonl, validation: 20%}}
"""


@given(
    backend=st.sampled_from(sorted(JOBS)),
    tokens=st.lists(st.integers(1, 5000), min_size=1, max_size=40),
    more=st.lists(st.integers(1, 5000), max_size=20),
    epochs=st.integers(1, 20),
    max_length=st.integers(64, 2048),
    share=st.floats(0, 0.5),
)
def test_more_rows_epochs_or_context_never_cost_less(
    backend: str, tokens: list[int], more: list[int], epochs: int, max_length: int, share: float
) -> None:
    def cost(rows: list[int], epochs: int, length: int) -> Cost:
        knobs: dict[str, float] = {"epochs": epochs}
        if backend in ("sagemaker", "huggingface"):
            knobs["max_length"] = length
        made = plan(backend, {**JOBS[backend], "hyperparameters": knobs})
        found = estimate(made, workload(lengths(*rows, share=share)))
        check(found)
        assert found.once
        return found.once

    base = cost(tokens, epochs, max_length)
    for other in (
        cost([*tokens, *more], epochs, max_length),
        cost(tokens, epochs + 1, max_length),
        cost(tokens, epochs, max_length * 2),
    ):
        assert base.low <= other.low + MICRO
        assert base.likely <= other.likely + MICRO
        assert base.high <= other.high + MICRO


def check(found: CostEstimate) -> None:
    """Totals are the sums of what they are made of, to the last digit, and every interval is in order."""
    costs = [line.cost for line in found.lines if line.cost]
    for cost in costs:
        assert cost.low <= cost.likely <= cost.high
    assert found.once == Cost.sum(line.cost for line in found.lines if line.component not in MONTHLY and line.cost)
    if found.total:
        assert found.total == Cost.sum(costs)
        assert Cost.sum(part for part in found.by_component.values() if part) == found.total


def test_a_missing_price_is_never_nothing_and_never_the_cheapest() -> None:
    made = plan("vertexai", {**JOBS["vertexai"], "base_model": "gemini-3.5-flash"})
    missing = estimate(made, workload(lengths(1000)))
    assert (missing.once, missing.total, missing.status) == (None, None, "no price")
    known = estimate(plan("openai", JOBS["openai"]), workload(lengths(10**6)))
    table = compare([missing, unpriced("else", "not planned", "why"), known], today=TODAY, serve=None)
    assert [row.backend for row in table.estimates] == ["openai", "else", "vertexai"]
    assert table.cheapest is not None
    assert table.cheapest.backend == "openai"


def test_with_tokens_to_serve_a_month_counts_too_and_weights_have_no_known_price() -> None:
    serve = ServeTokens(input=10_000_000, output=1_000_000)
    load = workload(lengths(*[500] * 100), serve=serve)
    rows = [estimate(plan(name, JOBS[name]), load) for name in ("openai", "sagemaker", "huggingface")]
    table = compare(rows, today=TODAY, serve=serve)
    assert [row.backend for row in table.estimates] == ["openai", "sagemaker", "huggingface"]
    openai, sagemaker, huggingface = table.estimates
    assert openai.monthly is not None
    assert openai.monthly.likely == 10 * Decimal("0.8") + Decimal("3.2")
    assert sagemaker.total is not None
    assert huggingface.total is None
    assert "weights" in huggingface.reasons[0]
    (point,) = table.break_even
    assert (point.hosted, point.by_token) == ("sagemaker", "openai")
    per_million = (10 * 0.8 + 3.2) / 11
    assert point.tokens_per_month == pytest.approx(1.222 * 730 / per_million * 1e6)


def test_every_backend_is_a_row_and_the_order_is_that_of_the_costs(tmp_path: Path) -> None:
    file = job_file(tmp_path, "openai")
    client = Client(tmp_path / "home")
    made = client.estimate(file, backends=list(client.plugins.backends()), options=OFFLINE)
    assert {row.backend for row in made.estimates} == set(client.plugins.backends())
    assert [row.backend for row in made.estimates if row.is_chosen] == ["openai"]
    costs = [made.deciding(row) for row in made.estimates]
    priced = [cost.likely for cost in costs if cost]
    assert all(cost is None for cost in costs[len(priced) :])
    assert all(one <= other for one, other in pairwise(priced))
    assert made.train_rows
    bedrock = next(row for row in made.estimates if row.backend == "bedrock")
    assert bedrock.status == "not planned"
    assert "base_model" in bedrock.reasons[0]


def test_the_document_follows_its_schema(tmp_path: Path) -> None:
    client = Client(tmp_path / "home")
    made = client.estimate(job_file(tmp_path, "openai"), backends=["openai", "gradient"], options=OFFLINE)
    document = json.loads(made.model_dump_json())
    jsonschema.validate(document, Comparison.model_json_schema(mode="serialization"))
    cost = document["estimates"][0]["once"]
    assert cost["low"] <= cost["likely"] <= cost["high"]
    assert isinstance(cost["likely"], float)


def test_contract_prices_and_refreshed_ones_are_used(tmp_path: Path) -> None:
    client = Client(tmp_path / "home")
    rows = {"meter": "training", "sku": "gpt-4.1-mini-2025-04-14", "unit": "1M tokens"}
    shared = {"backend": "openai", "source_url": "contract", "as_of": TODAY.isoformat(), "confidence": "high"}
    (tmp_path / "home" / "prices").mkdir(parents=True)
    for file, usd in (("home/prices/openai.json", "7"), ("own.json", "3")):
        (tmp_path / file).write_text(json.dumps({"prices": [{**shared, "rows": [{**rows, "usd": usd}]}]}))
    job = job_file(tmp_path, "openai")

    def used(options: EstimateOptions) -> tuple[float, str]:
        (line,) = client.estimate(job, options=options).estimates[0].lines
        assert line.price
        return line.price.usd_per_unit, line.price.origin

    assert used(OFFLINE) == (7.0, "refreshed")
    assert used(EstimateOptions(price_file=tmp_path / "own.json", today=TODAY)) == (3.0, "price file")


def test_power_is_a_line_where_a_price_file_prices_it(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    own = {"meter": "electricity", "sku": "electricity", "unit": "kWh", "usd": "0.3"}
    shared = {"backend": "local", "source_url": "my contract", "as_of": TODAY.isoformat(), "confidence": "high"}
    (tmp_path / "own.json").write_text(json.dumps({"prices": [{**shared, "rows": [own]}]}))
    client = Client(tmp_path / "home")
    options = EstimateOptions(probe=False, price_file=tmp_path / "own.json", today=TODAY)
    found = client.estimate(job_file(tmp_path, "local"), options=options).estimates[0]
    assert [line.unit for line in found.lines] == ["hour", "kWh"]
    assert found.once
    assert found.once.likely > 0


def test_a_plugin_without_a_rule_is_a_row_without_a_price(tmp_path: Path) -> None:
    made = fake_client(tmp_path, billing=None).estimate(write_job(tmp_path), options=OFFLINE)
    assert made.estimates[0].status == "no price"
    assert "names no rule" in made.estimates[0].reasons[0]


def test_constants_can_be_overridden_and_calibrated(tmp_path: Path) -> None:
    found = calibrated(
        [Finished("local/this machine", 3.0, 1.0), Finished("local/this machine", 2.0, 1.0), Finished("x/y", 1.0, 0.0)]
    )
    assert [(row.machine, row.jobs, row.likely) for row in found] == [("local/this machine", 2, 2.5)]
    assert found[0].low <= 2.0
    assert found[0].high >= 3.0
    write_calibration(tmp_path / "calibration.toml", found)
    (tmp_path / "own.toml").write_text("[efficiency]\nfull = 0.1\n")
    constants = load_constants([tmp_path / "own.toml", tmp_path / "calibration.toml"])
    assert constants.number("efficiency", "full") == 0.1
    assert constants.number("efficiency", "lora") == load_constants().number("efficiency", "lora")
    assert constants.calibrated["local/this machine"][1] == 2.5


@pytest.mark.parametrize(("text", "tokens"), [("2M,500k", (2e6, 5e5)), ("100, 0", (100, 0)), ("1.5b,2", (1.5e9, 2))])
def test_tokens_to_serve_are_read(text: str, tokens: tuple[float, float]) -> None:
    found = serve_tokens(text)
    assert (found.input, found.output) == tokens


@pytest.mark.parametrize("text", ["2M", "a,b", "1,2,3", "-1,2", "nan,1", "inf,1"])
def test_other_tokens_to_serve_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="tokens per month"):
        serve_tokens(text)


def test_prices_without_any_row_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(SpecError, match="has no prices"):
        read_prices(tmp_path / "empty.toml", "price file")
    assert PriceBook([]).find("b", "training", "m") is None


def job_file(folder: Path, chosen: str) -> Path:
    """Write a job file with rows beside it."""
    row = '{{"messages": [{{"role": "user", "content": "Is {0} odd?"}}, {{"role": "assistant", "content": "{1}"}}]}}\n'
    rows = "".join(row.format(number, ("no", "yes")[number % 2]) for number in range(40))
    (folder / "rows.jsonl").write_text(rows)
    file = folder / "job.yaml"
    file.write_text(JOB.format(chosen=chosen))
    return file
