"""The one pass: the same rows whatever the way, bounded memory, files that are kept and files that are not."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.data import make_rows
from tests.data.faults import chat, good
from tests.data.targets import target
from tunebridge.data import library
from tunebridge.data.checking import duplicates
from tunebridge.data.engine.batch import convert_batch
from tunebridge.data.engine.run import run
from tunebridge.data.example import Example
from tunebridge.data.files import check, convert, split
from tunebridge.data.library import Library
from tunebridge.data.loading import load_dataset, reading_of
from tunebridge.data.writing.shards import write_split
from tunebridge.errors import DataError, PluginError
from tunebridge.spec import DataSpec


def write(folder: Path, rows: list[bytes], name: str = "rows.jsonl") -> DataSpec:
    """Write rows and return the data section that reads them."""
    (folder / name).write_bytes(b"\n".join(rows) + b"\n")
    return DataSpec(train=str(folder / name))


def test_a_dataset_is_made_once_and_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path, [good(n) for n in range(50)]).model_copy(update={"validation": 0.2})
    first = load_dataset(data, folder=tmp_path / "data")
    monkeypatch.setattr(library, "write_splits", None)  # nothing is read a second time
    second = load_dataset(data, folder=tmp_path / "data")
    assert second.fingerprint == first.fingerprint
    assert second.validation is not None
    assert len(second.train) + len(second.validation) == 50
    assert {*map(str, second.train), *map(str, second.validation)} == {
        str(Example.model_validate_json(good(n))) for n in range(50)
    }
    for path in (tmp_path / "data").rglob("*"):
        assert os.stat(path).st_mode & 0o077 == 0


def test_a_stored_split_is_the_one_in_memory(tmp_path: Path) -> None:
    from tunebridge.data.dataset import Split

    rows = [Example.model_validate_json(good(n)) for n in range(5)]
    stored = load_dataset(write(tmp_path, [good(n) for n in range(5)]), folder=tmp_path / "data").train
    in_memory = Split(rows)
    assert stored == in_memory
    assert (stored.examples, list(stored.rows())) == (in_memory.examples, list(in_memory.rows()))
    assert (stored.kinds, stored.features, len(stored)) == (in_memory.kinds, in_memory.features, len(in_memory))
    assert stored.place(3) == (str(tmp_path / "rows.jsonl"), 4)
    in_memory.write(tmp_path / "a.jsonl")
    stored.write(tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert Split.read(tmp_path / "b.jsonl") == in_memory


def test_other_bytes_or_another_way_to_read_them_is_another_dataset(tmp_path: Path) -> None:
    data = write(tmp_path, [good(n) for n in range(20)])
    keys = {library.key_of(reading_of(data))}
    keys.add(library.key_of(reading_of(data.model_copy(update={"validation": 0.2}))))
    keys.add(library.key_of(reading_of(data.model_copy(update={"validation": 0.2}), seed=1)))
    keys.add(library.key_of(reading_of(data.model_copy(update={"format": "chat"}))))
    keys.add(library.key_of(reading_of(write(tmp_path, [good(n) for n in range(21)]))))
    assert len(keys) == 5


def test_what_was_not_used_is_removed_and_what_is_broken_is_not_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    load_dataset(write(tmp_path, [good(1)]), folder=folder)
    (old,) = folder.iterdir()
    os.utime(old, (0, time.time() - library.UNUSED_SECONDS - 1))
    load_dataset(write(tmp_path, [good(2)]), folder=folder)
    (kept,) = folder.iterdir()
    assert kept != old
    with pytest.raises(DataError, match="rows.jsonl:1: E002"):
        load_dataset(write(tmp_path, [b"{"]), folder=folder)
    assert list(folder.iterdir()) == [kept]


READ = """
import sys
from pathlib import Path
from typing import Any
from tunebridge.data.loading import load_dataset
from tunebridge.spec import DataSpec
print(load_dataset(DataSpec(train=sys.argv[1]), folder=Path(sys.argv[2])).fingerprint)
"""


def test_two_processes_make_one_dataset(tmp_path: Path) -> None:
    data = write(tmp_path, [good(n) for n in range(2000)])
    command = [sys.executable, "-c", READ, str(data.train), str(tmp_path / "data")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate()[0] for process in both}
    assert len(said) == 1
    assert len(list((tmp_path / "data").iterdir())) == 1


def test_any_number_of_workers_and_any_size_of_block_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rows(tmp_path / "rows.jsonl", 3000)
    with (tmp_path / "rows.jsonl").open("ab") as file:
        file.write(b'{"broken"\n')
    reading = replace(reading_of(DataSpec(train=str(tmp_path / "rows.jsonl"), validation=0.1)), target=target())
    seen = set()
    for name, workers, block in (("one", 1, 1 << 20), ("small", 1, 5000), ("two", 2, 1 << 16)):
        monkeypatch.setattr("tunebridge.data.reading.blocks.BLOCK_BYTES", block)
        checked = check(replace(reading, workers=workers), rejected=tmp_path / name)
        seen.add((str(checked.report), str(checked.target), (tmp_path / name).read_bytes()))
    assert len(seen) == 1
    clean = DataSpec(train=str(tmp_path / "clean.jsonl"), validation=0.1)
    make_rows(tmp_path / "clean.jsonl", 3000)
    for name, workers in (("a", 1), ("b", 2)):
        split(replace(reading_of(clean), workers=workers), tmp_path / name)
    for file in ("train.jsonl", "validation.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    make_rows(tmp_path / "rows.jsonl", 5000)
    rows = (tmp_path / "rows.jsonl").read_bytes()
    peaks = []
    for times in (1, 8):
        (tmp_path / "many.jsonl").write_bytes(rows * times)
        code = (
            "import sys; from tunebridge.data.loading import *; from tunebridge.data.engine.run import run\n"
            "run(reading_of(DataSpec(train=sys.argv[1])))\n"
            "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "many.jsonl")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < 100
    assert peaks[1] - peaks[0] < 25


def test_the_index_says_the_same_on_disk_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [good(n % 700) for n in range(1000)] + [good(n).replace(b"is red", b"is blue") for n in range(20)]
    data = write(tmp_path, rows)
    in_memory = run(reading_of(data))
    monkeypatch.setattr(duplicates, "MAX_IN_MEMORY", 10)
    on_disk = run(reading_of(data))
    assert in_memory == on_disk
    assert in_memory.counts["W101"] == 300


def test_a_share_holds_out_the_same_rows_whatever_stands_around_them(tmp_path: Path) -> None:
    data = write(tmp_path, [good(n) for n in range(200)]).model_copy(update={"validation": 0.1})
    some = write(tmp_path, [good(n) for n in range(0, 200, 2)], "some.jsonl").model_copy(update={"validation": 0.1})
    all_out, some_out = (load_dataset(d, folder=tmp_path / "data").validation for d in (data, some))
    assert all_out is not None
    assert some_out is not None
    assert {*some_out} <= {*all_out}
    assert 5 < len(all_out) < 40


def test_groups_stay_together_and_strata_keep_their_share(tmp_path: Path) -> None:
    rows = [
        chat(("user", f"Q{n}"), ("assistant", "a"), metadata={"user": n % 25, "area": "ab"[n % 10 == 0]})
        for n in range(500)
    ]
    data = write(tmp_path, rows).model_copy(update={"validation": 0.2})
    grouped = load_dataset(data.model_copy(update={"group": "user"}), folder=tmp_path / "data")
    sides = [{(row.metadata or {})["user"] for row in side} for side in grouped.splits]
    assert sides[0] & sides[1] == set()
    strata = load_dataset(data.model_copy(update={"stratify": "area"}), folder=tmp_path / "data")
    counts = [[(row.metadata or {})["area"] for row in side].count("b") for side in strata.splits]
    assert (counts, len(strata.splits[1])) == ([40, 10], 100)
    with pytest.raises(DataError, match="not by both"):
        load_dataset(data.model_copy(update={"stratify": "area", "group": "user"}), folder=tmp_path / "data")
    with pytest.raises(DataError, match="no 'team' to split by"):
        load_dataset(data.model_copy(update={"group": "team"}), folder=tmp_path / "data")


def test_rows_are_written_within_the_targets_limits(tmp_path: Path) -> None:
    reading = reading_of(write(tmp_path, [good(n) for n in range(10)]))
    done = convert(replace(reading, target=target(max_rows=4, byte_order_mark=True)), tmp_path / "rows")
    assert [path.name for path in done.files] == [f"train-{n}-of-3.jsonl" for n in (1, 2, 3)]
    texts = [path.read_bytes() for path in done.files]
    assert all(text.startswith(b"\xef\xbb\xbf") for text in texts)
    rows = [json.loads(line) for text in texts for line in text.decode("utf-8-sig").split("\n") if line]
    assert [row["turns"][0][1] for row in rows] == [f"What is the colour of ball {n}?" for n in range(10)]
    by_size = convert(replace(reading, target=target(max_bytes=300)), tmp_path / "bytes")
    assert len(by_size.files) > 2
    assert all(path.stat().st_size <= 300 for path in by_size.files)
    one = convert(replace(reading, target=target()), tmp_path / "one")
    assert [path.name for path in one.files] == ["train.jsonl"]


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max_rows": 4, "may_split": False}, "at most 4"),
        ({"max_bytes": 300, "may_split": False}, "more than one file"),
        ({"max_bytes": 20}, "one row is longer"),
        ({"min_rows": 11}, "at least 11"),
        ({"max_validation_rows": 1}, "at most 1"),
        ({"max_validation_share": 0.1}, "at most 1"),
    ],
)
def test_what_does_not_fit_leaves_nothing_behind(limits: dict[str, object], says: str, tmp_path: Path) -> None:
    data = write(tmp_path, [good(n) for n in range(10)])
    write(tmp_path, [good(n) for n in (20, 21)], "held_out.jsonl")
    reading = reading_of(data.model_copy(update={"validation": str(tmp_path / "held_out.jsonl")}))
    with pytest.raises(DataError, match=says):
        convert(replace(reading, target=target(**limits)), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_job_writes_its_rows_in_the_shape_that_its_plan_named(tmp_path: Path) -> None:
    train = load_dataset(write(tmp_path, [good(n) for n in range(5)]), folder=tmp_path / "data").train
    files = write_split(train, target(max_rows=2), tmp_path, "train")
    assert [path.name for path in files] == [f"train-{n}-of-3.jsonl" for n in (1, 2, 3)]
    assert sum(path.read_bytes().count(b"\n") for path in files) == 5
    with pytest.raises(DataError, match="one row is longer"):
        write_split(train, target(max_bytes=10), tmp_path, "small")
    assert not list(tmp_path.glob("*small*"))


def test_losses_are_counted_and_refused_rows_left_out_only_with_leave(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    named = chat({"role": "user", "content": "a", "name": "kari"}, ("assistant", "b"))
    reading = reading_of(write(tmp_path, [good(1), named, chat(("user", "c"), ("assistant", "d"), tools=tools)]))
    reading = replace(reading, target=target())
    with pytest.raises(DataError, match=r"rows.jsonl:3: E013 .* cannot take 1 of 3 rows \(X-tools\)"):
        convert(reading, tmp_path / "warn")
    done = convert(reading, tmp_path / "allow", lossy="allow")
    assert done.files[0].read_bytes().count(b"\n") == 2
    assert (done.rows.exact, done.rows.lossy_rows, done.rows.refused_rows) == (1, 1, 1)
    assert done.rows.lossy[0].places == (f"{tmp_path}/rows.jsonl:2",)
    checked = check(reading)
    assert checked.errors == 1
    assert {problem.code for problem in checked.problems} == {"E013", "W114"}


def test_batches_are_pure_and_need_no_recipe() -> None:
    rows = [good(1), b"", good(2), b"{"]
    batch = convert_batch(rows)
    assert batch.train.rows == [
        json.dumps(json.loads(row), sort_keys=True, separators=(",", ":")).encode() for row in rows[:3] if row
    ]
    assert [(wrong.line, wrong.codes) for wrong in batch.rejected] == [(4, ("E002",))]
    assert convert_batch([{"prompt": "a", "completion": "b"}]).train.kinds == {"sft": 1}


def test_the_rejected_rows_are_those_that_are_wrong(tmp_path: Path) -> None:
    data = write(tmp_path, [good(1), b'{"messages": [}', good(2), chat(("user", "a"), ("assistant", ""))])
    check(reading_of(data), rejected=tmp_path / "rejected.jsonl")
    wrong = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().split("\n") if line]
    assert [(row["line"], row["codes"]) for row in wrong] == [(2, ["E002"]), (4, ["E009"])]
    assert wrong[0]["row"] == '{"messages": [}'
    Library(tmp_path)  # a folder is only made when it is needed


def test_rows_that_differ_in_what_is_not_trained_are_nearly_the_same(tmp_path: Path) -> None:
    asked, said = ("user", "a"), ("assistant", "b")
    rows = [chat(asked, said), chat(asked, said, id="1"), chat(asked, said, id="2"), chat(asked, said, id="2")]
    counts = run(reading_of(write(tmp_path, rows))).counts
    assert counts == {"W101": 1, "W102": 2}


def fails(row: object) -> Any:
    """A target's conversion that a plugin's author got wrong."""
    raise KeyError("content")


def test_a_target_that_fails_is_named(tmp_path: Path) -> None:
    reading = replace(reading_of(write(tmp_path, [good(1)])), target=replace(target(), convert=fails))
    with pytest.raises(PluginError, match="fake/turns failed on a row"):
        convert(reading, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(DataError, match="Use one worker"):
        run(replace(reading, target=replace(target(), convert=lambda row: fails(row)), workers=2))


def test_too_many_strata_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunebridge.data.engine.split.MAX_STRATA", 10)
    rows = [chat(("user", f"Q{n}"), ("assistant", "a"), metadata={"user": n}) for n in range(50)]
    data = write(tmp_path, rows).model_copy(update={"validation": 0.2, "stratify": "user"})
    with pytest.raises(DataError, match="more than 10 different values"):
        load_dataset(data, folder=tmp_path / "data")
