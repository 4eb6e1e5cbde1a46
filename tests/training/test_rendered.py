"""Rendered rows are kept for a resume, and only for the same rows, tokenizer and policy."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import CONFIG, last_message, make_run, result, stop_after, train
from tunebridge.data.rendering.render import RenderedRow

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from tunebridge.training import models, prepare, rendered  # noqa: E402
from tunebridge.training.rows import RenderedSplit, Unit  # noqa: E402


def row(*ids: int) -> RenderedRow:
    return RenderedRow(list(ids), [number % 2 == 0 for number in ids])


@pytest.mark.parametrize(
    "units",
    [(Unit((row(1, 2, 3),)), Unit((row(4),))), (Unit((row(1, 2), row(3))), Unit((row(5, 6, 7), row(8, 9))))],
    ids=["one", "pairs"],
)
def test_what_is_read_is_what_was_rendered(units: tuple[Unit, ...], tmp_path: Path) -> None:
    split = RenderedSplit(units, (1, 4), dropped=2, truncated=1)
    path = tmp_path / "rows.safetensors"
    assert rendered.kept(path, "a", lambda: split) == split
    assert rendered.kept(path, "a", lambda: pytest.fail("rendered again")) == split
    other = RenderedSplit(units[:1], (1,))
    assert rendered.kept(path, "b", lambda: other) == other


def test_the_fingerprint_hears_of_everything(tmp_path: Path) -> None:
    rows, tokenizer = tmp_path / "rows.jsonl", models.load_tokenizer("tunebridge/nano")
    rows.write_text("{}")
    found = {rendered.fingerprint(rows, tokenizer, CONFIG.model_copy(update=changes)) for changes in (
        {}, {"max_length": 64}, {"too_long": "drop"}, {"method": "dpo"}, {"seed": 9},
    )}  # fmt: skip
    assert len(found) == 4  # the seed plays no part
    tokenizer.chat_template += " "
    found.add(rendered.fingerprint(rows, tokenizer, CONFIG))
    rows.write_text("{} ")
    found.add(rendered.fingerprint(rows, tokenizer, CONFIG))
    assert len(found) == 6


def test_a_resumed_run_renders_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run")
    assert train(folder, stop_after(2)) == 0

    def again(*_: Any, **__: Any) -> Any:
        raise AssertionError("rendered again")

    monkeypatch.setattr(prepare, "render_split", again)
    assert train(folder) == 0, last_message(folder)
    assert result(folder)["steps"] == 12
