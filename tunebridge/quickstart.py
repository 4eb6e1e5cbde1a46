"""The quickstart's material: real rows, the job file, and the comparison of base and tuned model."""

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tunebridge.errors import DataError
from tunebridge.evaluation import metrics

SIX_AREAS = ("Tests", "Build", "C API", "Documentation", "IDLE", "Windows")
TEST_SHARE, VALIDATION_SHARE = 0.15, 0.05
MAX_ANSWER_TOKENS = 12

JOB = """\
# To which area of CPython does a changelog entry belong?
backend: local                     # the one line that changes to train elsewhere
base_model:
  local: tunebridge/nano           # a toy that is shipped with TuneBridge: 1 million parameters
  sagemaker: Qwen/Qwen3-0.6B
  vertexai: gemini-2.5-flash
data: {{train: train.jsonl, validation: validation.jsonl}}
method: {{type: sft, adapter: {{type: lora, rank: 16, alpha: 32}}}}
hyperparameters:
  epochs: {epochs}
  batch_size: 32
  learning_rate: {learning_rate}
  warmup_ratio: 0.05
  schedule: linear
  seed: {seed}
options:
  local: {{evaluations: 4}}
"""


@dataclass(frozen=True)
class Preset:
    """How long the quickstart trains; measured in tools/nano/README.md."""

    epochs: int
    learning_rate: float


SIX = Preset(epochs=10, learning_rate=5e-3)
FULL = Preset(epochs=6, learning_rate=5e-3)


@dataclass(frozen=True)
class Entry:
    """A changelog entry and the area that its author filed it under."""

    text: str
    area: str


@dataclass(frozen=True)
class Score:
    """How well one model answers the test rows."""

    name: str
    accuracy: float
    low: float
    high: float
    """95 % interval of the accuracy."""
    macro_f1: float


def load_entries(*, full: bool) -> list[Entry]:
    """Return the changelog's entries of the six middle-sized areas, or of all eleven."""
    with gzip.open(_data_folder() / "entries.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Entry(row["text"], row["area"]) for row in rows if full or row["area"] in SIX_AREAS]


def split(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Return train, validation and test entries; a hash of the text decides, so that equal texts stay together."""
    parts: dict[str, list[Entry]] = {"train": [], "validation": [], "test": []}
    for entry in entries:
        place = int(hashlib.sha256(entry.text.encode()).hexdigest()[:8], 16) / 2**32
        held_out = "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"
        parts["test" if place < TEST_SHARE else held_out].append(entry)
    return parts


def write(folder: Path, parts: dict[str, list[Entry]], *, full: bool, seed: int) -> Path:
    """Write the rows as chat rows and the job file, and return the job file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(map(chat_line, entries)), encoding="utf-8")
    job = folder / "job.yaml"
    job.write_text(JOB.format(**asdict(FULL if full else SIX), seed=seed))
    return job


def chat_line(entry: Entry) -> str:
    """Return an entry as a line of chat rows: the text asks, the area answers."""
    turns = [{"role": "user", "content": entry.text}, {"role": "assistant", "content": entry.area}]
    return json.dumps({"messages": turns}, ensure_ascii=False) + "\n"


def score(name: str, answers: Sequence[str], entries: Sequence[Entry]) -> Score:
    """Return a model's scores on the test entries."""
    truth = [entry.area for entry in entries]
    share = metrics.accuracy(answers, truth)
    low, high = metrics.wilson_interval(share, len(truth))
    return Score(name, share, low, high, metrics.macro_f1(answers, truth))


def majority_score(train: Sequence[Entry], test: Sequence[Entry]) -> Score:
    """Return the scores of always answering the most frequent area."""
    label, _ = metrics.majority([entry.area for entry in train], [entry.area for entry in test])
    return score(f"always {label!r}", [label] * len(test), test)


def samples(entries: Sequence[Entry], base: Sequence[str], tuned: Sequence[str]) -> list[dict[str, Any]]:
    """Return three answers of both models, one of them wrong where the tuned model errs at all."""
    rows = [
        {"text": entry.text, "truth": entry.area, "base": before, "tuned": after}
        for entry, before, after in zip(entries, base, tuned, strict=True)
    ]
    rows.sort(key=lambda row: len(row["text"]))
    short = [row for row in rows if 40 < len(row["text"]) < 140]
    right = [row for row in short if row["tuned"].strip() == row["truth"]]
    wrong = [row for row in short if row["tuned"].strip() != row["truth"]]
    varied = list({row["truth"]: row for row in right}.values())
    return [*varied[:2], *wrong[:1], *varied[2:3]][:3]


def _data_folder() -> Path:
    """Return where the entries lie: inside an installed package, or in a clone's examples."""
    packaged = Path(str(files("tunebridge"))) / "quickstart_data"
    cloned = Path(__file__).parent.parent / "examples" / "data" / "cpython_changelog"
    for folder in (packaged, cloned):
        if (folder / "entries.jsonl.gz").exists():
            return folder
    raise DataError("the quickstart's rows are missing from this installation. Install TuneBridge again.")
