"""What trains the emulated catalogue's models: `transfer_learning.py` of their archive, run by the SDK's driver.

Speaks as the catalogue's own scripts do: knobs on the command line, rows and their template in a channel, the model in
its folder. What it trains is `tunebridge/nano`.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tunebridge.testing.workshop import Workshop

KNOBS: dict[str, Any] = {
    "epoch": 2,
    "learning_rate": 0.0002,
    "per_device_train_batch_size": 4,
    "max_input_length": 128,
    "seed": 10,
    "lora_r": 8,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "instruction_tuned": "False",
}
"""Hyperparameters of the emulated recipe and their defaults."""
LOSS = "train_loss=([0-9.eE+-]+)"


def main() -> None:
    """Train on the channels and leave the adapter."""
    parser = argparse.ArgumentParser()
    for name, default in KNOBS.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    asked = parser.parse_args()
    workshop = Workshop(Path(os.environ["SM_INPUT_DIR"]))
    held_out = os.environ.get("SM_CHANNEL_VALIDATION")
    job_id = workshop.start(
        "recipe",
        _rows(Path(os.environ["SM_CHANNEL_TRAINING"])),
        _rows(Path(held_out)) if held_out else None,
        hyperparameters={
            "epochs": asked.epoch,
            "learning_rate": asked.learning_rate,
            "batch_size": asked.per_device_train_batch_size,
            "max_length": asked.max_input_length,
            "seed": asked.seed,
        },
        method={"adapter": {"rank": asked.lora_r, "alpha": asked.lora_alpha, "dropout": asked.lora_dropout}},
    )
    while not (seen := workshop.look(job_id)).status.is_terminal:
        time.sleep(0.2)
    for metric in workshop.metrics(job_id):
        sys.stdout.write(f"step={metric.step} {metric.name}={metric.value}\n")
    if seen.error:
        raise SystemExit(seen.error)
    workshop.download(job_id, Path(os.environ["SM_MODEL_DIR"]))


def _rows(channel: Path) -> bytes:
    template = json.loads((channel / "template.json").read_text())
    rows = [json.loads(line) for path in sorted(channel.glob("*.jsonl")) for line in path.read_text().splitlines()]
    filled = [{part: text.format(**row) for part, text in template.items()} for row in rows]
    return b"".join(json.dumps(row).encode() + b"\n" for row in filled)


if __name__ == "__main__":
    main()
