"""The bundle alone trains, wherever it is put, and an interrupted run goes on in it."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.training.runs import CONFIG, make_run, result, train, weights
from tunebridge import digests
from tunebridge.job import Event
from tunebridge.testing.case import small_dataset
from tunebridge.training import start
from tunebridge.training.bundle import Bundle, archive, requirements, start_command, write_bundle
from tunebridge.training.news import read_news, said_in


def bundle_in(folder: Path, base_model: str = "random") -> Bundle:
    folder.mkdir(exist_ok=True)
    small_dataset(validation=True).train.write(folder / "train.jsonl")
    return write_bundle(folder / "bundle", CONFIG.model_copy(update={"base_model": base_model}), folder)


def begin(bundle: Bundle, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Do on this machine what a vendor's agent does on a rented one: start the command where the source lies."""
    command = [sys.executable, *start_command(str(bundle.run), *arguments)[1:]]
    return subprocess.run(command, cwd=bundle.source, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.torch
def test_the_bundle_trains_as_the_package_does(tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path)
    done = begin(bundle, str(tmp_path / "work"), str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    here = make_run(tmp_path / "here")
    (here / "validation.jsonl").unlink()
    train(here)
    assert weights(tmp_path / "results") == weights(here)
    assert digests.of_folder(tmp_path / "results" / "adapter") == result(tmp_path / "results")["artifact_digest"]


@pytest.mark.torch
def test_the_log_says_what_the_events_say(tmp_path: Path) -> None:
    done = begin(bundle_in(tmp_path), str(tmp_path / "work"))
    log = [f"2026-11-25T00:00:00Z stdout {line}" for line in done.stdout.splitlines()]
    heard = read_news(said_in([*log, 'TUNEBRIDGE {"type": "event", "cut o']))
    assert heard == read_news((tmp_path / "work" / "events.jsonl").read_bytes().split(b"\n"))
    assert heard.word == "succeeded"
    assert heard.metrics


@pytest.mark.torch
def test_the_bundle_is_what_runs_and_needs_no_more_than_it_lists(tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path)
    modules = ("run", "prepare", "result", "generate")
    code = f"import sys, tunebridge, {', '.join(f'tunebridge.training.{name}' for name in modules)}\n"
    code += "print(tunebridge.__file__, *sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=bundle.source, capture_output=True, text=True, check=True)
    where, *loaded = done.stdout.split()
    assert Path(where).is_relative_to(bundle.source)
    assert {"typer", "rich", "pluggy", "platformdirs", "yaml"}.isdisjoint(loaded)
    assert [re.split("[<>]", line)[0] for line in requirements()] == [
        "filelock", "jinja2", "orjson", "peft", "psutil", "pydantic", "safetensors", "torch", "transformers",
    ]  # fmt: skip


def test_the_shipped_model_travels_only_with_jobs_that_use_it(tmp_path: Path) -> None:
    assert list(bundle_in(tmp_path / "a").source.rglob("*.safetensors"))
    assert not list(bundle_in(tmp_path / "b", "Qwen/Qwen3-0.6B").source.rglob("*.safetensors"))


def test_an_interrupted_run_is_not_begun_again(tmp_path: Path) -> None:
    bundle, work = bundle_in(tmp_path), tmp_path / "work"
    start.take_over(bundle.run, work)
    (work / "run.json").write_text("as the first start left it")
    start.take_over(bundle.run, work)
    assert (work / "run.json").read_text() == "as the first start left it"
    assert (work / "train.jsonl").read_bytes() == (tmp_path / "train.jsonl").read_bytes()


def test_only_what_is_missing_or_too_old_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(start.subprocess, "run", lambda command, check: ran.append(command))
    needs = tmp_path / "requirements.txt"
    needs.write_text("pytest>=1\npydantic>=2.12\n")
    start.install_missing(needs)
    assert ran == []
    for line in ("pytest>=9999", "no-such-package-of-this-name"):
        needs.write_text(f"pydantic>=2.12\n{line}\n")
        start.install_missing(needs)
    assert [command[-2:] for command in ran] == [["-r", str(needs)]] * 2


def test_an_archive_has_the_same_bytes_each_time_and_tells_nobody_who_made_it(tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path)
    once, again = (archive(bundle.source, tmp_path / name) for name in ("a.tar.gz", "b.tar.gz"))
    assert once.read_bytes() == again.read_bytes()
    with tarfile.open(once) as tar:
        assert "tunebridge/training/start.py" in tar.getnames()
        assert {(member.uid, member.uname, member.mtime) for member in tar} == {(0, "", 0)}


def test_a_failure_is_the_last_thing_said() -> None:
    said = {"at": "2026-11-25T00:00:00Z", "kind": "status"}
    words = [
        Event.model_validate({**said, "id": w, "message": w, "data": {"status": w}}) for w in ("running", "failed")
    ]
    news = read_news([b'{"type": "event", ' + event.model_dump_json()[1:].encode() for event in words])
    assert (news.word, news.failure) == ("failed", "failed")
