"""Canonical rows in a service's shape: what they lose is said when a job is planned, and written when it is sent."""

import json
import os
from collections import Counter
from pathlib import Path

from tunebridge.data.dataset import Split
from tunebridge.data.shapes.notes import CODES, Shape
from tunebridge.errors import InvalidRequest
from tunebridge.plan import Translation


def check_rows(job: Translation, shape: Shape) -> None:
    """Refuse rows that the shape cannot take, and say what others lose, as `data.lossy` wants it."""
    rows = (*job.dataset.train, *(job.dataset.validation or ()))
    lost: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        converted = shape.convert(row.to_json())
        if converted.refused:
            job.refuse("data.train", f"row {number}: {converted.refused.message}")
            return
        lost.update({loss.code for loss in converted.losses})
    for code, count in sorted(lost.items()):
        sentence = f"{count} of {len(rows)} rows: {CODES[code]}"
        if job.spec.data.lossy == "error":
            job.refuse("data.train", f"{sentence}; accept the loss with data.lossy")
        elif job.spec.data.lossy == "warn":
            job.warn(f"{sentence} ({code}). data.lossy: error refuses such rows.")


def write_rows(folder: Path, split: str, shape: Shape, *, backend: str) -> Path:
    """Write a split of a job's folder in a shape and return the file."""
    target = folder / "upload" / f"{split}.jsonl"
    target.parent.mkdir(mode=0o700, exist_ok=True)
    with open(target, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        for number, example in enumerate(Split.read(folder / f"{split}.jsonl"), start=1):
            converted = shape.convert(example.to_json())
            if converted.refused:
                raise InvalidRequest(
                    f"row {number} of {split}: {converted.refused.message}. Check the rows with "
                    f"`tunebridge data check --for {backend}`.",
                    backend=backend,
                    operation="submit",
                )
            file.writelines(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in converted.rows)
    return target
