"""The rows of managed fine-tuning jobs: chat rows or plain text, written beside the job's rows."""

import json
import os
from pathlib import Path
from typing import Any

from tunebridge.data.dataset import Split
from tunebridge.data.example import Example


def write_rows(folder: Path, task: str) -> dict[str, Path]:
    """Write the splits of a job's folder as the task takes them and return the files by split."""
    written = {}
    for split in ("train", "validation"):
        if (folder / f"{split}.jsonl").exists():
            target = folder / f"upload-{split}.jsonl"
            with open(target, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.writelines(json.dumps(_row(row, task)) + "\n" for row in Split.read(folder / f"{split}.jsonl"))
            written[split] = target
    return written


def _row(row: Example, task: str) -> dict[str, Any]:
    if task == "TextCompletion":
        return {"text": row.text}
    return {"messages": [{"role": turn.role, "content": turn.content} for turn in row.messages or ()]}
