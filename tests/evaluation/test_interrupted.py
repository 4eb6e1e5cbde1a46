"""An evaluation that is killed goes on where it was: same result, and no row with an answer is asked again."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.evaluation.endpoint import Endpoint
from tests.evaluation.rows import rows, twice, write
from tunebridge.cli import run

pytest.importorskip("httpx2")

ROWS, CONCURRENCY = 400, 8


def record(url: str, folder: Path, output: str) -> "subprocess.Popen[bytes]":
    """Start recording a model's answers in a process of its own."""
    arguments = [f"{url}#tiny", "--data", "rows.jsonl", "-o", output, "--concurrency", str(CONCURRENCY)]
    command = [sys.executable, "-m", "tunebridge", "record", *arguments]
    environment = {**os.environ, "TUNEBRIDGE_PLUGINS": ""}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kept(home: Path) -> int:
    """Return how many answers are kept; the last line may be half written."""
    return sum(path.read_bytes().count(b"\n") for path in home.glob("answers/*.jsonl"))


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_points(kills: int, tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(ROWS))
    chance = random.Random(kills)
    with Endpoint(twice, delay_seconds=0.02) as served:
        for _ in range(kills):
            before, asked = kept(tmp_path / "home"), len(served.asked)
            process = record(served.url, tmp_path, "answers.jsonl")
            more = chance.randint(1, max(1, (ROWS - before) // 2))
            while kept(tmp_path / "home") < before + more and process.poll() is None:
                time.sleep(0.001)
            process.kill()
            process.wait()
            time.sleep(0.05)  # what was under way arrives at the endpoint
            answered = len(served.asked) - asked
            assert answered <= kept(tmp_path / "home") - before + CONCURRENCY
        kept_before = kept(tmp_path / "home")
        asked = len(served.asked)
        assert record(served.url, tmp_path, "answers.jsonl").wait() == 0
        assert len(served.asked) - asked == ROWS - kept_before
        assert len(set(served.prompts)) == ROWS
        assert len(served.prompts) <= ROWS + kills * CONCURRENCY
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [(line["id"], line["output"]) for line in lines] == [(f"row-{n}", str(2 * n)) for n in range(ROWS)]


def test_a_line_that_was_half_written_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "rows.jsonl", rows(30))
    monkeypatch.chdir(tmp_path)
    with Endpoint(twice) as served:
        command = ["record", f"{served.url}#tiny", "--data", "rows.jsonl", "-o", "a.jsonl"]
        assert run(command) == 0
        (path,) = (tmp_path / "home" / "answers").glob("*.jsonl")
        path.write_bytes(path.read_bytes()[:-10])
        assert run(command) == 0
        assert len(served.asked) == 31
    monkeypatch.undo()


def test_no_more_rows_are_under_way_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "rows.jsonl", rows(60))
    monkeypatch.chdir(tmp_path)
    with Endpoint(twice, delay_seconds=0.01) as served:
        command = ["record", f"{served.url}#tiny", "--data", "rows.jsonl", "-o", "a.jsonl", "--concurrency", "7"]
        assert run(command) == 0
        assert served.most_at_once == 7
    monkeypatch.undo()
