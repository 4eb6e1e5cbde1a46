"""The commands: documents, exit codes, messages."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tunebridge import quickstart
from tunebridge.data.engine.run import run
from tunebridge.data.loading import reading_of
from tunebridge.data.problems import Problem
from tunebridge.errors import DataError
from tunebridge.evaluation import metrics
from tunebridge.spec import DataSpec


def tunebridge(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    environment = {**os.environ, "TUNEBRIDGE_HOME": str(cwd / "home"), "COLUMNS": "100"}
    command = [sys.executable, "-m", "tunebridge", *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def test_init_writes_a_job_that_can_be_planned(tmp_path: Path) -> None:
    assert tunebridge("init", "new", cwd=tmp_path).returncode == 0
    done = tunebridge("plan", "new/job.yaml", "--json", cwd=tmp_path)
    plan = json.loads(done.stdout)
    assert plan["sendable"]
    assert plan["data"]["train_rows"] > 100
    again = tunebridge("init", "new", cwd=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "no.yaml"], "There is no such file"),
        (["plna"], "plan"),
        (["jobs", "show", "last"], "There is no job"),
        (["generate", "last"], "Give a prompt"),
        (["backends", "locla"], "Did you mean 'local'"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = tunebridge(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_is_a_document_too(tmp_path: Path) -> None:
    done = tunebridge("plan", "no.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["type"] == "SpecError"


def test_a_refused_field_is_exit_code_two(tmp_path: Path) -> None:
    tunebridge("init", cwd=tmp_path)
    done = tunebridge("plan", "job.yaml", "--set", "method.type=dpo", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert not json.loads(done.stdout)["sendable"]


def test_data_check_gives_codes_and_lines(tmp_path: Path) -> None:
    rows = [
        b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        b'{"messages": [{"role": "user", "content": "a"}]',
        b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": [], "messages": []}',
        b'{"messages": [{"role": "wizard", "content": "a"}]}',
    ]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))
    done = tunebridge("data", "check", "rows.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 2
    found = {(p["line"], p["code"]) for p in json.loads(done.stdout)["problems"]}
    assert found >= {(2, "E002"), (3, "E009"), (4, "E001"), (5, "E002"), (6, "E003")}


@pytest.mark.parametrize(
    ("row", "format_"),
    [
        ({"prompt": "a", "completion": "b"}, None),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, None),
        ({"text": "a"}, None),
        ({"q": "a", "a": "b"}, {"prompt": "q", "completion": "a"}),
    ],
)
def test_shapes_of_rows_are_found(row: dict[str, Any], format_: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    report = run(reading_of(DataSpec(train=str(path), columns=format_)))
    assert report.problems == []
    assert report.rows == 1


def test_rows_of_no_known_shape_ask(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "a"}')
    problems = run(reading_of(DataSpec(train=str(path)))).problems
    assert [(problem.code, isinstance(problem, Problem)) for problem in problems] == [("E003", True)]
    with pytest.raises(DataError, match="no such file"):
        reading_of(DataSpec(train=str(tmp_path / "none.jsonl")))


def test_the_quickstarts_rows_do_not_leak() -> None:
    parts = quickstart.split(quickstart.load_entries(full=False))
    texts = {name: {entry.text for entry in entries} for name, entries in parts.items()}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert 230 < len(parts["test"]) < 290
    assert len(quickstart.load_entries(full=True)) > 6000


def test_scores() -> None:
    assert metrics.accuracy([" a", "b", "x"], ["a", "b", "c"]) == pytest.approx(2 / 3)
    assert metrics.macro_f1(["a", "a", "b"], ["a", "b", "b"]) == pytest.approx(2 / 3)
    assert metrics.majority(["a", "b", "b"], ["b", "a"]) == ("b", 0.5)
    assert metrics.wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def write_rows(folder: Path) -> None:
    """Write a file with one broken row and one that was seen before."""
    rows = [{"prompt": f"Ball {number}?", "completion": "red"} for number in (1, 2, 3, 2)]
    lines = [json.dumps(row) for row in rows]
    (folder / "rows.jsonl").write_text("\n".join([*lines, '{"prompt": "a"']))


def test_data_check_says_everything_as_a_document(tmp_path: Path) -> None:
    write_rows(tmp_path)
    command = ("data", "check", "rows.jsonl", "--json", "--rejected", "wrong.jsonl", "--for", "local")
    done = tunebridge(*command, cwd=tmp_path)
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["counts"] == {"E002": 1, "W101": 1}
    assert (found["kind"], found["rows"], found["rejected"]) == ("sft", 4, 1)
    assert found["formats"] == {"rows.jsonl": "prompt_completion"}
    assert set(found["problems"][0]) == {"code", "severity", "file", "line", "path", "message", "fix"}
    (wrong,) = (json.loads(line) for line in (tmp_path / "wrong.jsonl").read_text().splitlines())
    assert (wrong["line"], wrong["row"]) == (5, '{"prompt": "a"')


def test_data_check_is_read_at_a_glance(tmp_path: Path) -> None:
    write_rows(tmp_path)
    done = tunebridge("data", "check", "rows.jsonl", "--for", "local", cwd=tmp_path)
    assert "rows.jsonl: read as prompt_completion" in done.stdout
    assert "4 sft rows, 1 wrong" in done.stdout
    assert "rows.jsonl:5: E002 not valid JSON" in done.stdout
    assert "W101" in done.stdout


def test_data_split_writes_rows_that_can_be_read_again(tmp_path: Path) -> None:
    rows = [{"prompt": f"Ball {number}?", "completion": "red", "user": number % 9} for number in range(90)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ("data", "split", "rows.jsonl", "--validation", "20%", "--group", "user", "-o", "out", "--json")
    done = json.loads(tunebridge(*command, cwd=tmp_path).stdout)
    assert [Path(path).name for path in done["files"]] == ["train.jsonl", "validation.jsonl"]
    checked = tunebridge("data", "check", *done["files"], "--json", cwd=tmp_path)
    assert json.loads(checked.stdout)["rows"] == 90
    again = tunebridge(*command, cwd=tmp_path)
    assert again.returncode == 2
    assert "already" in again.stderr + again.stdout


def test_data_convert_without_a_shape_says_which_there_are(tmp_path: Path) -> None:
    write_rows(tmp_path)
    done = tunebridge("data", "convert", "rows.jsonl", "--to", "local", "-o", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "Choose one of" in done.stderr


def test_the_schema_of_rows_is_that_of_examples(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(tunebridge("schema", "--rows", cwd=tmp_path).stdout)
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    jsonschema.validate({"messages": [{"role": "user", "content": [image]}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, schema)
