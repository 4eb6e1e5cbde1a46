"""`python -m benchmarks.startup`: how long from `submit` to the first optimizer step, and what that time goes into.

Trains a few steps of the shipped model on a few rows with the local backend: the clock runs from the call of `submit`
to the event of the first step; CPU seconds are those of the trainer's process until then. `import` is a bare process
that imports what the trainer needs: nobody who trains with PEFT starts faster.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tunebridge.client import Client
from tunebridge.spec import JobSpec
from tunebridge.testing.case import small_dataset
from tunebridge.training.run import PROCESS_FILE

IMPORTS = "import torch, peft; from transformers.models.llama import modeling_llama"


def first_step() -> dict[str, float]:
    """Submit once and return wall seconds, and CPU seconds of the trainer's process, until the first step is done."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_dataset(rows=64).train.write(folder / "rows.jsonl")
        job: dict[str, Any] = {
            "backend": "local",
            "base_model": "tunebridge/nano",
            "data": {"train": str(folder / "rows.jsonl")},
            "hyperparameters": {"max_steps": 20, "batch_size": 16},
            "options": {"local": {"threads": 1}},
        }
        client = Client(home=folder / "store")
        start = time.monotonic()
        submitted = client.submit(JobSpec.model_validate(job))
        events = next(folder.rglob("run")) / "events.jsonl"
        while not (events.exists() and "progress-1" in events.read_text()):
            time.sleep(0.02)
        wall = time.monotonic() - start
        used = psutil.Process(json.loads((events.parent / PROCESS_FILE).read_text())["pid"]).cpu_times()
        client.wait(submitted.id)
    return {"wall": wall, "cpu": used.user + used.system}


def imports() -> dict[str, float]:
    """Return what importing alone takes."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/bench/startup.json"))
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {"first step": [], "import": []}
    for _ in range(options.rounds):
        runs["import"].append(imports())
        runs["first step"].append(first_step())
    for name, found in runs.items():
        wall, cpu = (statistics.median(run[key] for run in found) for key in ("wall", "cpu"))
        print(f"{name:10} {wall:6.2f} s, {cpu:6.2f} CPU-seconds")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(runs, indent=2) + "\n")


if __name__ == "__main__":
    main()
