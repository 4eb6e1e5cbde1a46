"""`tunebridge evaluate` and `record` as a user calls them."""

import csv
import io
import json
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.evaluation.endpoint import Endpoint, completion
from tests.evaluation.rows import recorded, rows, twice, write
from tunebridge.cli import run

pytest.importorskip("httpx2")
pytest.importorskip("numpy")


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def tunebridge(*arguments: str, cwd: Path) -> Done:
    """Run the command line in a folder, in this process: starting one for each call takes most of the time."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        code = run([*arguments])
    return Done(code, out.getvalue(), err.getvalue())


def evaluated(*arguments: str, cwd: Path, code: int = 0) -> dict[str, Any]:
    """Run `evaluate --json` and return its document."""
    done = tunebridge("evaluate", *arguments, "--json", cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def write_recorded(folder: Path, count: int = 60) -> None:
    """Write rows and the answers of a base model that is wrong on two rows of three, and of a tuned one."""
    asked = rows(count)
    write(folder / "rows.jsonl", asked)
    recorded(folder / "a.jsonl", asked, wrong=(n for n in range(count) if n % 3))
    recorded(folder / "b.jsonl", asked, wrong=(n for n in range(count) if n % 10 == 0))


RECORDED = ("--data", "rows.jsonl", "--recorded", "base=a.jsonl", "--recorded", "tuned=b.jsonl")


def test_recorded_answers_are_compared(tmp_path: Path) -> None:
    write_recorded(tmp_path)
    found = evaluated(*RECORDED, cwd=tmp_path)
    assert found["verdicts"] == {"tuned": "better"}
    means = {model["name"]: model["scores"]["exact_match"]["mean"] for model in found["models"]}
    assert means == {"base": pytest.approx(20 / 60), "tuned": pytest.approx(54 / 60)}
    (primary,) = found["comparisons"]
    assert primary["difference"] == pytest.approx(34 / 60)
    assert 0.3 < primary["low"] < primary["difference"] < primary["high"] < 0.8
    assert {(part["key"], part["value"]) for part in found["slices"]} == {("parity", "odd"), ("parity", "even")}


def test_the_table_says_who_is_better(tmp_path: Path) -> None:
    write_recorded(tmp_path)
    done = tunebridge("evaluate", *RECORDED, "--metric", "accuracy", "--metric", "token_f1", cwd=tmp_path)
    assert done.returncode == 0
    assert "better: tuned is better than base (accuracy +0.5667" in done.stdout
    assert "expect the difference in accuracy to be known to within about 11.3% to each side" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (None, "1 of 60 rows have no answer: 'row-59'"),
        ({"id": "row-0", "output": "?"}, "'row-0' stands there a second time"),
        ({"id": "other", "output": "?"}, "1 ids are not in rows.jsonl: 'other'"),
        ({"output": "?"}, "the line has no `id`"),
        ({"id": "row-59"}, "the line has no `output`"),
        ({"id": "row-59", "output": "118", "row": "0" * 32}, "was recorded for another question"),
    ],
)
def test_recorded_answers_must_be_those_of_the_rows(line: dict[str, Any] | None, said: str, tmp_path: Path) -> None:
    write_recorded(tmp_path)
    lines = [json.loads(text) for text in (tmp_path / "b.jsonl").read_text().splitlines()[:-1]]
    write(tmp_path / "b.jsonl", [*lines, *([line] if line else [])])
    done = tunebridge("evaluate", *RECORDED, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr.replace("\n", " ")


def test_rows_without_an_id_have_their_number(tmp_path: Path) -> None:
    asked = rows(40)
    write(tmp_path / "rows.jsonl", ({**row, "id": None} for row in asked))
    answers = [{"id": n, "output": str(2 * n)} for n in range(40)]
    write(tmp_path / "a.jsonl", answers)
    write(tmp_path / "b.jsonl", reversed(answers))
    found = evaluated(*RECORDED, "--margin", "0.05", cwd=tmp_path)
    assert found["models"][1]["scores"]["exact_match"]["mean"] == 1.0
    assert found["comparisons"][0]["difference"] == 0.0


def test_ids_may_be_numbers_and_references_may_be_several(tmp_path: Path) -> None:
    asked = [{"id": n, "prompt": f"{n}?", "reference": [str(n), f"{n}.0"]} for n in range(40)]
    write(tmp_path / "rows.jsonl", asked)
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl", ({"id": n, "output": f"{n}.0"} for n in range(40)))
    assert evaluated(*RECORDED, cwd=tmp_path)["models"][0]["scores"]["exact_match"]["mean"] == 1.0


def test_failures_count_and_are_shown_apart(tmp_path: Path) -> None:
    write_recorded(tmp_path)
    reasons = {0: "length", 1: "content_filter", 2: "timeout", 3: "error"}
    lines = [json.loads(text) for text in (tmp_path / "b.jsonl").read_text().splitlines()]
    lines = [{**line, "output": str(2 * n), "finish_reason": reasons.get(n, "stop")} for n, line in enumerate(lines)]
    write(tmp_path / "b.jsonl", lines)
    tuned = evaluated(*RECORDED, cwd=tmp_path)["models"][1]
    assert tuned["failures"] == {"cut": 1, "refusal": 1, "timeout": 1, "error": 1}
    assert tuned["scores"]["exact_match"]["mean"] == pytest.approx(56 / 60)


def test_gates(tmp_path: Path) -> None:
    write_recorded(tmp_path)
    swapped = ("--data", "rows.jsonl", "--recorded", "base=b.jsonl", "--recorded", "tuned=a.jsonl")
    assert evaluated(*swapped, "--fail-on", "worse", cwd=tmp_path, code=3)["verdicts"] == {"tuned": "worse"}
    evaluated(*swapped, "--require", "better", cwd=tmp_path, code=3)
    evaluated(*RECORDED, "--fail-on", "worse", "--require", "better", cwd=tmp_path)
    assert evaluated(*RECORDED, "--require", "beter", cwd=tmp_path, code=2)["error"]["type"] == "EvaluationError"


def test_few_rows_give_no_verdict(tmp_path: Path) -> None:
    write_recorded(tmp_path, 29)
    found = evaluated(*RECORDED, cwd=tmp_path)
    assert found["verdicts"] == {"tuned": "inconclusive"}
    assert "below 30" in found["comparisons"][0]["reason"]


def test_rows_that_were_trained_on_are_refused(tmp_path: Path) -> None:
    write_recorded(tmp_path)
    write(tmp_path / "train.jsonl", rows(3))
    done = tunebridge("evaluate", *RECORDED, "--train", "train.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "3 of 60 rows ask what the model on train.jsonl was trained on" in done.stderr
    done = tunebridge("evaluate", *RECORDED, "--train", "rows.jsonl", cwd=tmp_path)
    assert "the very rows" in done.stderr


def test_each_rows_scores_and_the_table_are_written(tmp_path: Path) -> None:
    write_recorded(tmp_path)
    evaluated(*RECORDED, "--csv", "scores.csv", "--md", "table.md", cwd=tmp_path)
    with (tmp_path / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 120
    assert sum(float(line["exact_match"]) for line in lines if line["model"] == "tuned") == 54
    assert "| tuned | exact_match * | +0.5667 |" in (tmp_path / "table.md").read_text()


def test_an_endpoint_is_asked_recorded_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "rows.jsonl", rows(40))
    with Endpoint(lambda turns: "?" if twice(turns).endswith("0") else twice(turns)) as served:
        monkeypatch.setenv("TUNEBRIDGE_API_KEY_MODEL", "sentinel-77")
        monkeypatch.setenv("OPENAI_API_KEY", "must-not-leave")
        arguments = ("record", f"{served.url}#tiny", "--data", "rows.jsonl", "-o", "a.jsonl", "--json")
        done = tunebridge(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["asked"] == len(served.asked) == 40
        assert served.keys == {"bearer sentinel-77"}
        assert json.loads(tunebridge(*arguments, cwd=tmp_path).stdout)["asked"] == 0
    assert "sentinel" not in "".join(p.read_text() for p in (tmp_path / "home" / "answers").glob("*.jsonl"))
    recorded(tmp_path / "b.jsonl", rows(40))
    base = evaluated(*RECORDED, "--price", "base=10,20", cwd=tmp_path)["models"][0]
    assert base["scores"]["exact_match"]["mean"] == pytest.approx(32 / 40)
    assert (base["input_tokens"], base["output_tokens"]) == (280, 120)
    assert float(base["usd_per_1000_requests"]) == pytest.approx((280 * 10 + 120 * 20) / 1e6 * 25)
    assert base["latency_p95_seconds"] > 0


def test_functions_are_models_and_metrics(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(40))
    (tmp_path / "mine.py").write_text(
        "def doubled(turns):\n    return str(2 * int(turns[-1]['content'].split()[1].rstrip('?')))\n"
        "def broken(turns):\n    return doubled(turns) if '7' in turns[-1]['content'] else 1 / 0\n"
        "async def later(turns):\n    return {'output': doubled(turns), 'finish_reason': 'stop'}\n"
        "def length(output, reference):\n    return float(len(output) == len(reference))\n"
    )
    models = [f"--model=m{n}=mine.py:{name}" for n, name in enumerate(("doubled", "later"))]
    found = evaluated("--data", "rows.jsonl", *models, "--metric", "mine.py:length", cwd=tmp_path)
    assert [model["scores"]["length"]["mean"] for model in found["models"]] == [1.0, 1.0]
    done = tunebridge("evaluate", "--data", "rows.jsonl", "--model", "a=mine.py:broken", cwd=tmp_path)
    assert done.returncode == 0  # one row of the first twenty is answered
    assert "error" in done.stdout
    (tmp_path / "mine.py").write_text("def broken(turns):\n    return 1 / 0\n")
    done = tunebridge("evaluate", "--data", "rows.jsonl", "--model", "a=mine.py:broken", cwd=tmp_path)
    assert done.returncode == 2
    assert "The first 20 rows that a was asked all failed (ZeroDivisionError" in done.stderr


def test_a_judge_sees_each_pair_in_both_orders(tmp_path: Path) -> None:
    write_recorded(tmp_path, 40)

    def verdict(turns: list[dict[str, Any]]) -> str:
        text = turns[-1]["content"]
        if "Answer B" not in text:
            return "[[1]]" if "?\n" in text.rpartition("Answer")[2] else "[[5]]"
        first, second = text.rpartition("Answer A")[2].split("Answer B")
        is_bad = ["\n?\n" in part for part in (first, second)]
        return "[[C]]" if is_bad[0] == is_bad[1] else "[[B]]" if is_bad[0] else "[[A]]"

    with Endpoint(verdict) as served:
        judge = ("--judge", f"{served.url}#judge", "--rubric", "The number is right.")
        found = evaluated(*RECORDED, *judge, cwd=tmp_path)
        assert len(served.asked) == 2 * 40 + (2 * 40 - 14)  # 14 rows have the same answer twice, rated once
    (judged,) = found["judges"]
    assert (judged["pairs"], judged["unreadable"], judged["agreeing"]) == (40, 0, 1.0)
    by_metric = {each["metric"]: each for each in found["comparisons"]}
    assert by_metric["judge_pairwise"]["verdict"] == "better"
    assert by_metric["judge_rubric"]["difference"] > 0.3


def test_refusals_and_broken_answers_of_an_endpoint_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(40))
    odd: dict[str, tuple[int, dict[str, Any]]] = {
        "0": (200, completion("", refusal="I will not.")),
        "2": (200, completion("4", finish_reason="length")),
        "4": (200, {"choices": []}),
        "6": (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}),
        "8": (400, {"error": {"message": "filtered", "code": "content_filter"}}),
    }
    with Endpoint(lambda turns: odd.get(twice(turns), twice(turns))) as served:
        found = evaluated("--data", "rows.jsonl", "--model", f"m={served.url}#tiny", cwd=tmp_path)
    assert found["models"][0]["failures"] == {"refusal": 2, "cut": 1, "error": 2}


def test_an_endpoint_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(30))
    seen: set[str] = set()

    def reply(turns: list[dict[str, Any]]) -> tuple[int, dict[str, Any]] | str:
        text = twice(turns)
        if text in seen:
            return text
        seen.add(text)
        return 429, {"error": {"message": "slow down"}}

    with Endpoint(reply) as served:
        found = evaluated("--data", "rows.jsonl", "--model", f"m={served.url}#tiny", cwd=tmp_path)
        assert len(served.asked) == 60
    assert found["models"][0]["failures"] == {}


def test_a_wrong_key_stops_everything(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(40))
    with Endpoint(lambda turns: (401, {"error": {"message": "no such key"}})) as served:
        done = tunebridge("evaluate", "--data", "rows.jsonl", "--model", f"m={served.url}#tiny", cwd=tmp_path)
        assert len(served.asked) < 40
    assert done.returncode == 2
    assert "no such key. Set TUNEBRIDGE_API_KEY_M to the endpoint's key." in done.stderr


def test_rows_that_the_metric_cannot_score_are_said_before_anything_is_asked(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", ({"prompt": row["messages"][0]["content"]} for row in rows(40)))
    with Endpoint(twice) as served:
        for metric, said in (("exact_match", "A row has no reference"), ("json_schema", "A row has no JSON schema")):
            command = ("--data", "rows.jsonl", "--model", f"m={served.url}#tiny", "--metric", metric)
            done = tunebridge("evaluate", *command, cwd=tmp_path)
            assert done.returncode == 2
            assert said in done.stderr
        assert served.asked == []


def test_a_schema_and_options_of_metrics(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(40))
    (tmp_path / "schema.json").write_text('{"type": "integer", "maximum": 50}')
    recorded(tmp_path / "a.jsonl", rows(40), wrong=range(10))
    command = ("--data", "rows.jsonl", "--recorded", "m=a.jsonl", "--metric", "exact_match,normalise=number")
    found = evaluated(*command, "--metric", "json_schema", "--schema", "schema.json", cwd=tmp_path)
    assert found["models"][0]["scores"]["json_schema"]["mean"] == pytest.approx(16 / 40)
    assert found["settings"]["metrics"]["exact_match"] == {"normalise": "number"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "There is no model to evaluate"),
        (("--recorded", "a.jsonl"), "Write --recorded NAME=VALUE"),
        (("--recorded", "m=a.jsonl", "--baseline", "x"), "There is no model 'x'"),
        (("--recorded", "m=a.jsonl", "--price", "m=free"), "is no price"),
        (("--recorded", "m=a.jsonl", "--price", "x=1,2"), "--price names 'x'"),
        (("--recorded", "m=a.jsonl", "--metric", "exactmatch"), "Did you mean 'exact_match'"),
        (("--recorded", "m=a.jsonl", "--group", "user"), "have no 'user' in their metadata"),
        (("--recorded", "m=none.jsonl"), "none.jsonl cannot be read"),
        (("--model", "m=http://127.0.0.1:9/v1"), "names no model"),
        (("--model", "m=none.py:f"), "none.py"),
    ],
)
def test_what_a_user_can_mend_is_said(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", rows(40))
    recorded(tmp_path / "a.jsonl", rows(40))
    done = tunebridge("evaluate", "--data", "rows.jsonl", *options, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr.replace("\n", " ")
