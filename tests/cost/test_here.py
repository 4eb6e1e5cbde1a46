"""What is measured on this machine: a probe of a local run, and what a finished job teaches."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tiktoken")

from tests.cost.test_estimates import OFFLINE, job_file
from tunebridge.client import Client
from tunebridge.costs import EstimateOptions

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def test_a_probe_measures_the_job_itself(tmp_path: Path) -> None:
    found = Client(tmp_path / "home").estimate(job_file(tmp_path, "local"), options=EstimateOptions()).estimates[0]
    assert "measured on this machine" in " ".join(found.assumptions)
    assert found.hours
    assert found.hours.likely > 0
    assert found.once
    assert found.once.high == 0


def test_a_finished_job_calibrates_later_estimates(tmp_path: Path) -> None:
    client = Client(tmp_path / "home")
    job = job_file(tmp_path, "local")
    before = client.estimate(job, options=OFFLINE).estimates[0]
    done = client.wait(client.submit(job).id, timeout_seconds=240)
    (learnt,) = client.calibrate()
    assert (learnt.machine, learnt.jobs) == ("local/this machine", 1)
    after = client.estimate(job, options=OFFLINE).estimates[0]
    assert before.hours
    assert after.hours
    assert done.usage.training_seconds
    start = client.costs.constants().triple("start_minutes", "local").likely / 60
    assert after.hours.likely - start == pytest.approx(done.usage.training_seconds / 3600, rel=1e-3)
    assert client.calibrate() == [learnt]
