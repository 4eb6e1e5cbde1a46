"""`make bench-training`: TuneBridge's trainer beside TRL and transformers on the same rows, interleaved.

Each round runs every side once, in processes of their own; the table shows medians. On a busy machine the CPU time
is the figure to compare (one thread per side), on a quiet one the wall time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import workload
from benchmarks.sides import SIDES


def main() -> None:
    """Run the rounds, print the table, write JSON."""
    options = _options()
    results: dict[str, Any] = {"options": vars(options) | {"out": str(options.out)}, "machine": _machine(options)}
    for size in options.sizes:
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in options.sides}
        for number in range(options.rounds):
            for side in options.sides:
                runs[side].append(_run(side, size, options))
                print(f"{size} round {number + 1} {side}: {_line(runs[side][-1])}", flush=True)
        results[size] = {"runs": runs, "medians": {side: _medians(found) for side, found in runs.items()}}
        _print_table(size, results[size]["medians"], results["machine"]["matmul_gflops"])
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=2) + "\n")


def _run(side: str, size: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.sides", side, size, "--steps", str(options.steps)]
    command += ["--threads", str(options.threads), "--device", options.device]
    command += ["--system-tokens", str(options.system_tokens)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-2000:]}")
    speed = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("SPEED "))[6:])
    return {**speed, "wall": speed["tokens"] / speed["wall_seconds"], "cpu": speed["tokens"] / speed["cpu_seconds"]}


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in ("wall", "cpu", "peak_mib", "first_loss")}


def _line(run: dict[str, float]) -> str:
    return f"{run['wall']:.0f} tokens/s, {run['cpu']:.0f} per CPU-second, {run['peak_mib']:.0f} MiB"


def _print_table(size: str, medians: dict[str, dict[str, float]], matmul_gflops: float) -> None:
    ours = medians.get("tunebridge")
    flops = workload.useful_flops_per_token(size, trained_share=0.45)
    print(f"\n| {size} | tokens/s | per CPU-second | ours is | of bf16 matmul | peak MiB | first loss |")
    print("|---|---|---|---|---|---|---|")
    for side, found in medians.items():
        ratio = f"{ours['cpu'] / found['cpu']:.2f}x" if ours else ""
        share = found["cpu"] * flops / 1e9 / matmul_gflops
        print(
            f"| {side} | {found['wall']:.0f} | {found['cpu']:.0f} | {ratio} | {share:.0%} | {found['peak_mib']:.0f} "
            f"| {found['first_loss']:.4f} |"
        )
    print()


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    name = torch.cuda.get_device_name() if options.device == "cuda" else _cpu()
    return {"name": name, "matmul_gflops": round(_matmul_gflops(options.device), 1), "load": os.getloadavg()}


def _matmul_gflops(device: str, size: int = 2048) -> float:
    """Return the best rate of a bfloat16 product, per CPU-second on a CPU and per second on a GPU."""
    import torch

    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    clock = time.process_time if device == "cpu" else time.perf_counter
    best = 0.0
    for _ in range(8):
        start = clock()
        one @ other
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (clock() - start) / 1e9)
    return best


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["5m", "110m"], choices=workload.SHAPES)
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=SIDES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="measured steps of 8 rows; two more are not counted")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--system-tokens", type=int, default=0, help="tokens with which every row begins")
    parser.add_argument("--out", type=Path, default=Path("build/bench/training.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
