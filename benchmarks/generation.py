"""`python -m benchmarks.generation`: many answers of one model beside plain `model.generate`, with the same answers.

Three sides take the same prompts, greedy, in one process, one after the other in each round:

- `tunebridge`: `tunebridge.training.generate.answer_all`, as `tunebridge generate` and evaluations use it;
- `batched`: `model.generate` on batches of the same number of rows in the order of the file;
- `alone`: `model.generate` row by row, on the first rows only (`--alone`); its rate is what is compared.

CPU seconds are compared, because a shared machine makes wall time meaningless. The answers must be the same; where
two tokens score alike to within rounding a row may differ, and the share of such rows is printed.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import workload
from tunebridge.training import generate

Answers = dict[int, list[int]]


def prompts(count: int, vocabulary: int, *, seed: int = 0) -> list[list[int]]:
    """Return prompts of random tokens with log-normal lengths, 10 to 256 tokens."""
    draw = random.Random(seed)
    lengths = [int(min(256, max(10, draw.lognormvariate(4.2, 0.8)))) for _ in range(count)]
    return [[draw.randrange(3, vocabulary) for _ in range(length)] for length in lengths]


def ours(model: Any, rows: Sequence[list[int]], tokens: int) -> Answers:
    """Answer in batches of similar length."""
    found: Answers = {}
    for batch in generate.batches([len(row) for row in rows]):
        outputs = generate.continued(model, 0, [rows[number] for number in batch], tokens)
        found.update(zip(batch, outputs, strict=True))
    return found


def batched(model: Any, rows: Sequence[list[int]], tokens: int) -> Answers:
    """Answer in batches as the rows come."""
    found: Answers = {}
    for begin in range(0, len(rows), generate.BATCH_ROWS):
        batch = range(begin, min(begin + generate.BATCH_ROWS, len(rows)))
        found.update(zip(batch, generate.continued(model, 0, [rows[n] for n in batch], tokens), strict=True))
    return found


def alone(model: Any, rows: Sequence[list[int]], tokens: int) -> Answers:
    """Answer row by row."""
    return {number: generate.continued(model, 0, [row], tokens)[0] for number, row in enumerate(rows)}


def measure(side: Callable[..., Answers], model: Any, rows: Sequence[list[int]], tokens: int) -> tuple[float, Answers]:
    """Return the rows per CPU-second of a side, and its answers."""
    start = time.process_time()
    with torch.inference_mode():
        found = side(model, rows, tokens)
    return len(rows) / (time.process_time() - start), found


def main() -> None:
    """Compare."""
    options = _options()
    torch.set_num_threads(options.threads)
    model = workload.model(options.size).eval()
    model.generation_config.eos_token_id = None
    if options.dtype == "bfloat16":
        model = model.to(torch.bfloat16)
    rows = prompts(options.rows, workload.SHAPES[options.size]["vocab_size"])
    rates: dict[str, list[float]] = {"tunebridge": [], "batched": [], "alone": []}
    for _ in range(options.rounds):
        rate, answers = measure(ours, model, rows, options.tokens)
        rates["tunebridge"].append(rate)
        rate, plain = measure(batched, model, rows, options.tokens)
        rates["batched"].append(rate)
        rate, single = measure(alone, model, rows[: options.alone], options.tokens)
        rates["alone"].append(rate)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    same = {
        "batched": sum(answers[n] == plain[n] for n in plain) / len(plain),
        "alone": sum(answers[n] == single[n] for n in single) / len(single),
    }
    for name, rate in medians.items():
        ratio = f"ours is {medians['tunebridge'] / rate:.2f}x" if name != "tunebridge" else ""
        agreement = f", {same[name]:.1%} of the answers are the same" if name in same else ""
        print(f"{name:10} {rate:8.2f} rows per CPU-second  {ratio}{agreement}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"medians": medians, "rates": rates, "same": same}, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__)
    parser.add_argument("--size", choices=workload.SHAPES, default="110m")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--alone", type=int, default=40, help="rows that are also answered one by one")
    parser.add_argument("--tokens", type=int, default=32, help="new tokens per row")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--out", type=Path, default=Path("build/bench/generation.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
