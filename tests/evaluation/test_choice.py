"""Which model should answer: the Pareto front, and `tunebridge compare`."""

import json
from pathlib import Path

import pytest

pytest.importorskip("httpx2")
pytest.importorskip("numpy")

from tests.evaluation.rows import recorded, rows, write
from tests.evaluation.test_command import RECORDED, tunebridge, write_recorded
from tests.fakes import fake_client, write_job
from tunebridge.errors import EvaluationError
from tunebridge.evaluation.guards import refuse_different_data
from tunebridge.evaluation.pareto import Candidate, front_of
from tunebridge.evaluation.result import Estimate


def candidate(name: str, quality: float, cost: float | None, latency: float | None) -> Candidate:
    """Return a candidate of which only the numbers matter."""
    score = Estimate(mean=quality, low=quality - 0.1, high=quality + 0.1)
    return Candidate(name=name, identity={}, quality=score, usd_per_1000_requests=cost, latency_p50_seconds=latency)


def front(*candidates: Candidate, higher_is_better: bool = True) -> set[str]:
    """Return the names on the front."""
    return {each.name for each in front_of(candidates, higher_is_better=higher_is_better) if each.is_on_front}


def test_the_front_is_what_no_other_beats() -> None:
    good, cheap = candidate("good", 0.9, 5.0, 1.0), candidate("cheap", 0.7, 1.0, 1.0)
    beaten, fast = candidate("beaten", 0.7, 2.0, 1.5), candidate("fast", 0.6, 6.0, 0.1)
    assert front(good, cheap, beaten, fast) == {"good", "cheap", "fast"}
    assert front(good, cheap, higher_is_better=False) == {"cheap"}


def test_what_is_not_known_neither_wins_nor_loses() -> None:
    local, paid = candidate("local", 0.8, None, None), candidate("paid", 0.9, 2.0, 1.0)
    assert front(local, paid) == {"paid"}
    assert front(candidate("local", 0.95, None, None), paid) == {"local"}
    twins = candidate("a", 0.8, 1.0, 1.0), candidate("b", 0.8, 1.0, 1.0)
    assert front(*twins) == {"a", "b"}


def test_evaluations_of_the_same_rows_are_put_together(tmp_path: Path) -> None:
    write_recorded(tmp_path)
    for number, name in enumerate("ab"):
        done = tunebridge(
            "evaluate", "--data", "rows.jsonl", f"--recorded=m{name}={name}.jsonl", "--json", cwd=tmp_path
        )
        (tmp_path / f"{number}.json").write_text(done.stdout)
    done = tunebridge("compare", "0.json", "1.json", "--json", "--html", "choice.html", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert [(each["name"], each["is_on_front"]) for each in found["candidates"]] == [("mb", True), ("ma", False)]
    assert "Which one? exact_match" in (tmp_path / "choice.html").read_text()


def test_evaluations_of_other_rows_are_refused(tmp_path: Path) -> None:
    write_recorded(tmp_path)
    (tmp_path / "0.json").write_text(tunebridge("evaluate", *RECORDED, "--json", cwd=tmp_path).stdout)
    write_recorded(tmp_path, 50)
    (tmp_path / "1.json").write_text(tunebridge("evaluate", *RECORDED, "--json", cwd=tmp_path).stdout)
    done = tunebridge("compare", "0.json", "1.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "The evaluations asked different rows" in done.stderr
    assert "is no evaluation" in tunebridge("compare", "0.json", "rows.json", cwd=_with(tmp_path)).stderr


def test_jobs_of_different_rows_are_refused(tmp_path: Path) -> None:
    client = fake_client(tmp_path)
    job = client.submit(write_job(tmp_path))
    refuse_different_data([job, job])
    other = job.model_copy(update={"id": "other", "train_fingerprint": "sha256:0"})
    with pytest.raises(EvaluationError, match="--different-data"):
        refuse_different_data([job, other])


def _with(folder: Path) -> Path:
    recorded(write(folder / "rows.json", rows(1)), rows(1))
    return folder
