"""Every kind of file and every shape of row becomes the same canonical rows, or an error that says what to do."""

import csv
import gzip
import importlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.faults import chat, good
from tunebridge.data.engine.run import run
from tunebridge.data.example import Example
from tunebridge.data.loading import load_dataset, reading_of
from tunebridge.errors import DataError, MissingPackage
from tunebridge.spec import DataSpec
from tunebridge.testing.case import without

GOOD = [good(number) for number in range(7)]
EXAMPLES = tuple(Example.model_validate_json(line) for line in GOOD)
PAIRS = [{"prompt": str(n), "completion": f'Ball {n}, "red"\nor so'} for n in range(7)]


def read(folder: Path, names: Any, **data: Any) -> tuple[Example, ...]:
    """Return the examples of a data section."""
    return load_dataset(DataSpec.model_validate({"train": names, **data}), folder=folder / "data").train.examples


def spelt(name: str) -> bytes:
    """Return the good rows as the bytes of a file of that name."""
    joined = b"\n".join(GOOD)
    array = json.dumps([json.loads(line) for line in GOOD], indent=1).encode()
    if name.endswith(".gz"):
        return gzip.compress(spelt(name.removesuffix(".gz")))
    if name.endswith(".zst"):
        compressed: bytes = importlib.import_module("zstandard").compress(spelt(name.removesuffix(".zst")))
        return compressed
    return {"a.jsonl": joined, "b.jsonl": b"\xef\xbb\xbf" + joined.replace(b"\n", b"\r\n\r\n"), "a.json": array,
            "b.json": joined, "c.json": b"[" + b",".join(GOOD) + b"]\n", "d.json": b"\xef\xbb\xbf \n" + array}[name]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["a.jsonl", "b.jsonl", "a.json", "b.json", "c.json", "d.json", "a.jsonl.gz", "a.json.gz"]
)
def test_files_of_json(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(spelt(name))
    assert read(tmp_path, str(tmp_path / name)) == EXAMPLES
    monkeypatch.setattr("tunebridge.data.reading.arrays.CHUNK_CHARACTERS", 7)
    monkeypatch.setattr("tunebridge.data.reading.blocks.BLOCK_BYTES", 7)
    assert read(tmp_path / "small", str(tmp_path / name)) == EXAMPLES


@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.json.zst"])
def test_files_of_json_behind_zstandard(name: str, tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    (tmp_path / name).write_bytes(spelt(name))
    assert read(tmp_path, str(tmp_path / name)) == EXAMPLES


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t"), ("csv.gz", ",")])
def test_tables_of_text(suffix: str, delimiter: str, tmp_path: Path) -> None:
    text = io.StringIO()
    table = csv.writer(text, delimiter=delimiter)
    table.writerows([["q", "a", "source"], *([row["prompt"], row["completion"], ""] for row in PAIRS)])
    data = text.getvalue().encode()
    (tmp_path / f"rows.{suffix}").write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    rows = read(tmp_path, str(tmp_path / f"rows.{suffix}"), columns={"prompt": "q", "completion": "a"})
    assert [row.messages[1].content for row in rows if row.messages] == [row["completion"] for row in PAIRS]


def test_tables_of_arrow(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    named = [
        *map(json.loads, GOOD[:6]),
        json.loads(chat({"role": "user", "content": "a", "name": "kari"}, ("assistant", "b"))),
    ]
    table = pyarrow.Table.from_pylist(named)
    parquet.write_table(table, tmp_path / "rows.parquet")
    with pyarrow.ipc.new_file(tmp_path / "file.arrow", table.schema) as file:
        file.write_table(table)
    with pyarrow.ipc.new_stream(tmp_path / "stream.arrow", table.schema) as stream:
        stream.write_table(table)
    wanted = (*EXAMPLES[:6], Example.model_validate(named[6]))
    for name in ("rows.parquet", "file.arrow", "stream.arrow"):
        assert read(tmp_path, str(tmp_path / name)) == wanted
    pictures = pyarrow.Table.from_pylist([{**row, "picture": b"png"} for row in named])
    parquet.write_table(pictures, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="rows.parquet:1: E003 the row holds a value that JSON cannot"):
        read(tmp_path, str(tmp_path / "rows.parquet"))
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path, str(tmp_path / "rows.parquet"))


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    folder = tmp_path / "saved" / "train"
    folder.mkdir(parents=True)
    table = pyarrow.Table.from_pylist([json.loads(line) for line in GOOD])
    for number, part in enumerate((table.slice(0, 4), table.slice(4))):
        with pyarrow.ipc.new_stream(folder / f"data-{number}.arrow", table.schema) as stream:
            stream.write_table(part)
    files = [{"filename": f"data-{number}.arrow"} for number in (0, 1)]
    (folder / "state.json").write_text(json.dumps({"_data_files": files}))
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert read(tmp_path, str(folder)) == read(tmp_path, str(tmp_path / "saved")) == EXAMPLES
    with pytest.raises(DataError, match="not one that `datasets` saved"):
        read(tmp_path, str(tmp_path))


def test_patterns_lists_and_urls(tmp_path: Path) -> None:
    for number, part in enumerate((GOOD[:3], GOOD[3:])):
        (tmp_path / f"part-{number}.jsonl").write_bytes(b"\n".join(part))
    assert read(tmp_path, str(tmp_path / "part-*.jsonl")) == EXAMPLES
    assert read(tmp_path, [str(tmp_path / "part-0.jsonl"), str(tmp_path / "part-1.jsonl")]) == EXAMPLES
    pytest.importorskip("fsspec")
    assert read(tmp_path, f"file://{tmp_path}/part-*.jsonl") == EXAMPLES
    assert read(tmp_path, [f"file://{tmp_path}/part-{number}.jsonl" for number in (0, 1)]) == EXAMPLES
    for url in ("nobody://knows/this.jsonl", f"file://{tmp_path}/none.jsonl"):
        with pytest.raises(DataError, match="cannot be opened"):
            read(tmp_path, url)
    with pytest.raises(DataError, match="no file fits"):
        read(tmp_path, str(tmp_path / "none-*.jsonl"))


@pytest.mark.parametrize(
    ("package", "name"), [("fsspec", "s3://bucket/a.jsonl"), ("zstandard", "a.jsonl.zst"), ("pyarrow", "a.parquet")]
)
def test_a_missing_package_is_named_with_the_command(package: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name.rpartition("/")[2]).write_bytes(b"x")
    with without([package]), pytest.raises(MissingPackage, match=r'pip install "tunebridge\[data\]"'):
        read(tmp_path, name if "://" in name else str(tmp_path / name))


CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
ARGUMENTS = {"city": "Oslo"}
ASKED, SAID = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
SYSTEM = {"role": "system", "content": "s"}
PREFERENCE = {"messages": [ASKED], "preferred": [SAID], "rejected": [{"role": "assistant", "content": "c"}]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SHAPES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("chat", {"messages": [ASKED, SAID], "source": "x"}, {"messages": [ASKED, SAID], "metadata": {"source": "x"}}),
    (
        "chat",
        {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}]}, {"role": "tool", "name": "weather", "content": "4"}, SAID]},
        {"messages": [ASKED, {"role": "assistant", "tool_calls": [{**CALL, "id": "call_1_0"}]}, {"role": "tool", "name": "weather", "content": "4", "tool_call_id": "call_1_0"}, SAID]},
    ),
    ("preference", {"input": {"messages": [ASKED]}, "preferred_output": [SAID], "non_preferred_output": PREFERENCE["rejected"]}, PREFERENCE),
    ("chosen_rejected", {"prompt": "a", "chosen": "b", "rejected": "c"}, PREFERENCE),
    ("chosen_rejected", {"prompt": [ASKED], "chosen": [SAID], "rejected": PREFERENCE["rejected"]}, PREFERENCE),
    ("implicit_prompt", {"chosen": [ASKED, SAID], "rejected": [ASKED, *PREFERENCE["rejected"]]}, PREFERENCE),
    ("prompt_completion", {"prompt": "a", "completion": "b", "system": "s"}, {"messages": [SYSTEM, ASKED, SAID]}),
    ("prompt_completion", {"prompt": "a", "completion": "b", "label": False}, {"messages": [ASKED, SAID], "label": False}),
    ("prompt_only", {"prompt": "a", "reference": 4}, {"messages": [ASKED], "reference": 4}),
    ("text", {"text": "a"}, {"text": "a"}),
    ("alpaca", {"instruction": "a", "input": "", "output": "b", "system": "s"}, {"messages": [SYSTEM, ASKED, SAID]}),
    ("alpaca", {"instruction": "a", "input": "i", "output": "b", "history": [["a", "b"]]}, {"messages": [ASKED, SAID, {"role": "user", "content": "a\ni"}, SAID]}),
    ("alpaca_preference", {"instruction": "a", "chosen": "b", "rejected": "c"}, PREFERENCE),
    ("sharegpt", {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"}, {"messages": [SYSTEM, ASKED, SAID]}),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'}, {"from": "observation", "value": "4"}, {"from": "gpt", "value": "b"}], "tools": '[{"name": "weather", "parameters": {"type": "object"}}]'},
        {"messages": [ASKED, {"role": "assistant", "tool_calls": [{**CALL, "id": "call_1"}]}, {"role": "tool", "content": "4", "tool_call_id": "call_1"}, SAID], "tools": [TOOL]},
    ),
    ("gemini", {"systemInstruction": {"parts": [{"text": "s"}]}, "contents": [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]}, {"messages": [SYSTEM, ASKED, SAID]}),
    (
        "gemini",
        {"contents": [{"role": "user", "parts": [{"text": "a"}, {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/c.png"}}]}, {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": ARGUMENTS}}]}, {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"degrees": 4}}}]}, {"role": "model", "parts": [{"text": "b"}]}], "tools": [{"functionDeclarations": [TOOL["function"]]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "gs://b/c.png"}}]}, {"role": "assistant", "tool_calls": [{**CALL, "id": "call_1_0"}]}, {"role": "tool", "name": "weather", "content": '{"degrees":4}', "tool_call_id": "call_1_0"}, SAID], "tools": [TOOL]},
    ),
    ("gemini", {"contents": [{"role": "user", "parts": [{"text": "a"}]}], "completions": [{"score": 1, "completion": {"role": "model", "parts": [{"text": "b"}]}}, {"score": 0, "completion": {"role": "model", "parts": [{"text": "c"}]}}]}, PREFERENCE),
    ("converse", {"schemaVersion": "bedrock-conversation-2024", "system": [{"text": "s"}], "messages": [{"role": "user", "content": [{"text": "a"}]}, {"role": "assistant", "content": [{"text": "b"}]}]}, {"messages": [SYSTEM, ASKED, SAID]}),
    (
        "converse",
        {"messages": [{"role": "user", "content": [{"text": "a"}]}, {"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": "r"}}}, {"toolUse": {"toolUseId": "c1", "name": "weather", "input": ARGUMENTS}}]}, {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "4"}]}}]}, {"role": "assistant", "content": [{"text": "b"}]}], "toolConfig": {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]}},
        {"messages": [ASKED, {"role": "assistant", "reasoning": "r", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": "4"}, SAID], "tools": [TOOL]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "row", "wanted"), SHAPES)
def test_shapes_are_found_and_become_the_same_rows(shape: str, row: Any, wanted: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    report = run(reading_of(DataSpec(train=str(path))))
    assert [str(problem) for problem in report.problems if problem.severity == "error"] == []
    assert report.formats == {str(path): shape}
    assert read(tmp_path, str(path)) == (Example.model_validate(wanted),)
    assert read(tmp_path / "named", str(path), format=shape) == (Example.model_validate(wanted),)


def test_what_is_not_certain_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": [], "text": "a"}')
    (problem,) = run(reading_of(DataSpec(train=str(path)))).problems
    assert "fit chat or text. Say which with data.format" in str(problem)
    path.write_text('{"prompt": "a", "completion": "b"}')
    with pytest.raises(DataError, match="takes the name of another column"):
        read(tmp_path, str(path), columns={"prompt": "completion"})
    with pytest.raises(DataError, match="'alpacka' is not known. Use one of chat, converse"):
        read(tmp_path, str(path), format="alpacka")


def test_the_shape_is_that_of_most_rows(tmp_path: Path) -> None:
    rows = [b"{broken", b'{"prompt": "a", "completion": "b"}', *GOOD]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))
    report = run(reading_of(DataSpec(train=str(tmp_path / "rows.jsonl"))))
    assert [(problem.line, problem.code) for problem in report.problems] == [(1, "E002"), (2, "E011")]
    assert report.rows == len(GOOD)


def test_keys_that_no_shape_knows_are_kept_and_counted(tmp_path: Path) -> None:
    rows = [json.dumps({**json.loads(line), "tool": 1, "source": "x"}) for line in GOOD]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    report = run(reading_of(DataSpec(train=str(tmp_path / "rows.jsonl"))))
    assert report.metadata_keys == {"tool": 7, "source": 7}
    (problem,) = report.problems
    assert (problem.code, "did you mean 'tools'?" in problem.message) == ("W111", True)


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("prompt,completion\na,b\na\n", 3, "E003"),
        ("prompt,prompt\na,b\n", 1, "E002"),
        ('prompt,completion\n"a\n', 2, "E002"),
        ("prompt,completion\na,\xe9\n", 2, "E001"),
    ],
)
def test_broken_tables_say_where(text: str, line: int, code: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(text.encode("latin-1"))
    found = run(reading_of(DataSpec(train=str(tmp_path / "rows.csv")))).problems
    assert (code, line) in {(problem.code, problem.line) for problem in found}, found


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl.zst"])
def test_a_compressed_file_that_is_cut_off_is_an_error(name: str, tmp_path: Path) -> None:
    if name.endswith("zst"):
        pytest.importorskip("zstandard")
    data = spelt(name.replace("rows", "a"))
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="problems? in the data|cannot be read"):
        read(tmp_path, str(tmp_path / name))
