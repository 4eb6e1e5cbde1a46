"""Caps bind: nothing is sent above them, jobs at once never share what is left, a running job is stopped."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.fakes import fake_client, write_job
from tests.processes import run_at_once
from tunebridge.cli.app import app
from tunebridge.client import Client
from tunebridge.cost.budget import JobCost, admit, breach, committed, spent
from tunebridge.cost.estimate import CostEstimate
from tunebridge.errors import BudgetExceeded
from tunebridge.job import Job, JobStatus, Usage
from tunebridge.testing.service import FakeService

pytest.importorskip("tiktoken", reason="tokens are counted with the extra `tokens`")

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
HIGH = Decimal(6)
"""The high end of every job of the fake backend: three hours at 2 USD."""


def estimate(folder: Path) -> CostEstimate:
    (row,) = fake_client(folder).estimate(write_job(folder)).estimates
    return row


@pytest.fixture(scope="module")
def cost(tmp_path_factory: pytest.TempPathFactory) -> JobCost:
    return JobCost(estimate=estimate(tmp_path_factory.mktemp("cost")))


def job(**values: object) -> Job:
    known = {"id": "tb-1", "backend": "fake", "base_model": "m", "plan_digest": "p", "data_fingerprint": "d"}
    return Job.model_validate(
        {**known, "folder": "/", "backend_id": "x", "created_at": AT, "updated_at": AT, "status": "running", **values}
    )


def test_a_job_above_its_own_cap_is_not_sent(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    with pytest.raises(BudgetExceeded, match="up to 6.00 USD, more than its budget.max_usd of 5.99"):
        client.submit(write_job(tmp_path, "budget: {max_usd: 5.99}\n"))
    assert not client.store.list()
    assert not FakeService(tmp_path / "service").jobs()
    assert not list((client.store.home / "jobs").iterdir())
    client.submit(write_job(tmp_path, "budget: {max_usd: 6}\n"))


def test_a_job_without_a_price_is_not_sent_under_a_cap(tmp_path: Path, cost: JobCost) -> None:
    unknown = JobCost(max_usd=Decimal(5))
    with pytest.raises(BudgetExceeded, match="--price-file"):
        admit(unknown, None, ())
    with pytest.raises(BudgetExceeded, match="--price-file"):
        admit(JobCost(), Decimal(5), ())
    admit(JobCost(), None, ())


def test_a_project_shares_its_budget(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    client.spending.set_budget("research", Decimal(13))
    job_file = write_job(tmp_path, "budget: {project: research}\n")
    first = client.submit(job_file)
    client.submit(job_file, again=True)
    with pytest.raises(BudgetExceeded, match="12.00 are spent or reserved"):
        client.submit(job_file, again=True)
    client.wait(first.id)  # 2 USD an hour, and it was seen running twice or more
    (found,) = client.spending.budgets()
    assert found.spent_usd == 2 * first_hours(client, first.id)
    assert found.committed_usd == found.spent_usd + HIGH
    client.submit(write_job(tmp_path), again=True)  # another project


def first_hours(client: Client, job_id: str) -> Decimal:
    seconds = client.store.get(job_id).usage.training_seconds
    assert seconds
    return Decimal(repr(seconds / 3600))


def test_twenty_submits_at_once_never_reserve_more_than_there_is(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    client.spending.set_budget("default", Decimal(45))
    write_job(tmp_path)
    code = """
from concurrent.futures import ThreadPoolExecutor
from tunebridge.errors import BudgetExceeded
def submit(number):
    try:
        fake_client(folder).submit(folder / "job.yaml", again=True)
        return "sent"
    except BudgetExceeded:
        return "refused"
with ThreadPoolExecutor(5) as pool:
    print(*pool.map(submit, range(5)))
"""
    printed = [word for line in run_at_once(code, tmp_path, processes=4) for word in line.split()]
    assert len(printed) == 20
    assert sorted(set(printed)) == ["refused", "sent"]
    assert printed.count("sent") == 45 // HIGH
    assert len(FakeService(tmp_path / "service").jobs()) == 45 // HIGH


def test_a_running_job_is_stopped_when_it_has_spent_its_cap(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    sent = client.submit(write_job(tmp_path))
    client.store.ledger.set_budget("default", Decimal(1))  # lowered while it runs
    events = [event for _, event in client.watch(sent.id)]
    said = [event.message for event in events if event.id == "tunebridge-budget"]
    assert len(said) == 1
    assert "more than the 1 USD that project 'default' leaves" in said[0]
    assert "bills until it has stopped" in said[0]
    assert client.get(sent.id).status == JobStatus.cancelled


def test_a_rehearsal_reserves_nothing(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    client.spending.set_budget("default", Decimal(1))
    client.wait(client.submit(write_job(tmp_path), rehearse=True).id)
    assert not client.spending.jobs()


@pytest.mark.parametrize(
    ("values", "usd", "is_final"),
    [
        ({"usage": Usage(training_seconds=1800)}, 1, False),
        ({"usage": Usage(training_seconds=1800), "status": "succeeded"}, 1, True),
        ({"started_at": AT - timedelta(hours=2)}, 4, False),
        ({}, 0, False),
        ({"status": "failed", "backend_id": None}, 0, True),
        ({"status": "succeeded", "rehearsal": True, "usage": Usage(training_seconds=1800)}, 0, True),
    ],
)
def test_what_a_job_has_spent(values: dict[str, object], usd: int, is_final: bool, cost: JobCost) -> None:
    known = spent(job(**values), cost, AT)
    assert known is not None
    assert (known.usd, known.is_final) == (usd, is_final)


def test_a_job_that_ended_without_a_known_cost_keeps_its_reservation(cost: JobCost) -> None:
    assert spent(job(status="succeeded"), cost, AT) is None
    assert committed(job(status="succeeded"), cost, AT) == HIGH


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_usage_never_costs_less(first: float, second: float) -> None:
    row = JobCost(estimate=ROW)
    less, more = (spent(job(usage=Usage(training_seconds=s)), row, AT) for s in sorted((first, second)))
    assert less is not None
    assert more is not None
    assert less.usd <= more.usd
    assert (breach(job(usage=Usage(training_seconds=second)), row, Decimal(10), AT) is None) == (second <= 18000)


ROW = CostEstimate.model_validate(
    {
        "backend": "fake",
        "hours": {"low": 1, "likely": 2, "high": 3},
        "lines": [
            {
                "component": "training",
                "name": "machine",
                "quantity": {"low": 1, "likely": 2, "high": 3},
                "unit": "hour",
                "cost": {"low": 2, "likely": 4, "high": 6},
                "price": {
                    "usd_per_unit": 2,
                    "sku": "fake machine",
                    "region": "any",
                    "tier": None,
                    "source_url": "made up",
                    "as_of": "2026-11-25",
                    "age_days": 0,
                    "freshness": "fresh",
                    "confidence": "high",
                    "origin": "packaged",
                },
            }
        ],
    }
)


def test_what_the_commands_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = fake_client(tmp_path)
    monkeypatch.setattr("tunebridge.client.Client", lambda: client)
    run = CliRunner().invoke
    assert run(app, ["budget", "set", "default", "x"]).exception
    said = run(app, ["budget", "set", "default", "20", "--json"])
    assert json.loads(said.stdout)["budgets"][0]["left_usd"] == "20"
    done = client.wait(client.submit(write_job(tmp_path)).id)
    (row,) = json.loads(run(app, ["jobs", "costs", "--json"]).stdout)["jobs"]
    assert (row["estimate"]["likely"], row["spent"]["is_final"]) == (4.0, True)
    assert row["error"] == pytest.approx(row["spent"]["usd"] / 4 - 1)
    (line,) = csv.DictReader(io.StringIO(run(app, ["jobs", "costs", "--csv"]).stdout))
    assert (line["ResourceName"], line["BillingCurrency"]) == (done.id, "USD")
    assert Decimal(line["EffectiveCost"]) == Decimal(repr(row["spent"]["usd"]))
    month = ["jobs", "costs", "--json", "--month"]
    assert json.loads(run(app, [*month, f"{done.created_at:%Y-%m}"]).stdout)["jobs"]
    assert not json.loads(run(app, [*month, "2020-01"]).stdout)["jobs"]
    assert f"{done.created_at:%Y-%m}  default  1     6.0000" in run(app, ["jobs", "costs"]).stdout


def test_an_endpoint_is_listed_until_it_is_removed(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    done = client.wait(client.submit(write_job(tmp_path)).id)
    assert not client.spending.idle()
    client.deploy(done.id)
    (standing,) = client.spending.idle()
    assert (standing.job_id, standing.usd_per_month) == (done.id, Decimal("1095.000"))
    assert standing.usd_so_far is not None
    assert standing.usd_so_far > 0
    client.undeploy(done.id)
    assert not client.spending.idle()
