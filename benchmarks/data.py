"""How fast and in how much memory rows are checked, compared and converted: `make bench-data`.

Writes a chat file of 200,000 rows (about 220 MB: mean row 1.1 kB, 8 % with tool calls, 1 % duplicates), then runs, in
turns and each in a process of its own:

- `tunebridge`: the whole engine: decode, validate, check, look for duplicates, convert to Gemini's shape, write;
- `orjson`: a bare loop of `orjson.loads`, the same conversion and `orjson.dumps`, without a single check;
- `datasets`: `load_dataset("json").map(conversion).to_json()`.

CPU seconds are what is compared, because a shared machine makes wall time meaningless. `--json` prints everything.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from tunebridge.data.targets import CanonicalRow, Converted, Limits, Target

ROWS = 200_000
WORDS = 6000
ROLES = {"user": "user", "assistant": "model", "tool": "user"}


def make_rows(path: Path, rows: int, *, seed: int = 0) -> None:
    """Write the chat file."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvwy", k=chance.randint(2, 9))) for _ in range(WORDS)]
    earlier: list[bytes] = []
    with path.open("wb") as file:
        for _ in range(rows):
            if earlier and chance.random() < 0.01:
                line = chance.choice(earlier)
            else:
                line = orjson.dumps(_row(chance, words))
                if len(earlier) < 1000:
                    earlier.append(line)
            file.write(line + b"\n")


def _row(chance: random.Random, words: list[str]) -> dict[str, Any]:
    def text(mean: int) -> str:
        count = max(3, int(chance.gauss(mean, mean / 3)))
        return " ".join(chance.choices(words, k=count)).capitalize() + "."

    asked = [{"role": "system", "content": text(15)}, {"role": "user", "content": text(55)}]
    if chance.random() >= 0.08:
        return {"messages": [*asked, {"role": "assistant", "content": text(90)}]}
    city = chance.choice(words)
    arguments = json.dumps({"city": city, "days": chance.randint(1, 9)})
    call = {"id": f"call_{chance.getrandbits(32):x}", "type": "function"}
    call["function"] = {"name": "weather", "arguments": arguments}  # type: ignore[assignment]
    answer = {"role": "tool", "tool_call_id": call["id"], "content": json.dumps({"degrees": chance.randint(-9, 30)})}
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": {**schema, "required": ["city"]}}}
    turns = [*asked, {"role": "assistant", "content": None, "tool_calls": [call]}, answer]
    return {"messages": [*turns, {"role": "assistant", "content": text(40)}], "tools": [tool]}


def to_gemini(row: CanonicalRow) -> Converted:
    """Convert a chat row to the shape that Vertex AI takes."""
    return Converted((gemini_row(row),))


def gemini_row(row: CanonicalRow) -> dict[str, Any]:
    """Return a chat row in Gemini's shape."""
    contents: list[Any] = []
    converted: dict[str, Any] = {"contents": contents}
    for message in row["messages"]:
        if message["role"] == "system":
            converted["systemInstruction"] = {"parts": [{"text": message["content"]}]}
        elif message["role"] == "tool":
            response = {"name": "weather", "response": {"result": message["content"]}}
            contents.append({"role": "user", "parts": [{"functionResponse": response}]})
        elif message.get("tool_calls"):
            calls = [call["function"] for call in message["tool_calls"]]
            parts = [{"functionCall": {"name": c["name"], "args": orjson.loads(c["arguments"])}} for c in calls]
            contents.append({"role": "model", "parts": parts})
        else:
            contents.append({"role": ROLES[message["role"]], "parts": [{"text": message["content"]}]})
    if row.get("tools"):
        converted["tools"] = [{"functionDeclarations": [tool["function"] for tool in row["tools"]]}]
    return converted


LIMITS = Limits(as_of=date(2026, 11, 22), source_url="https://cloud.google.com/vertex-ai", confidence="documented")
GEMINI = Target("benchmark", "gemini", frozenset({"sft"}), to_gemini, LIMITS)


def run_tunebridge(source: Path, folder: Path, *, workers: int = 1) -> dict[str, Any]:
    """Run the engine and return what it found."""
    from dataclasses import replace

    from tunebridge.data.files import convert
    from tunebridge.data.loading import reading_of
    from tunebridge.spec import DataSpec

    done = convert(replace(reading_of(DataSpec(train=str(source))), target=GEMINI, workers=workers), folder)
    return {"rows": done.report.rows, "duplicates": done.report.counts.get("W101", 0), "files": len(done.files)}


def run_orjson(source: Path, folder: Path) -> dict[str, Any]:
    """Convert without looking."""
    count = 0
    with source.open("rb") as lines, (folder / "out.jsonl").open("wb") as out:
        for line in lines:
            out.write(orjson.dumps(gemini_row(orjson.loads(line))) + b"\n")
            count += 1
    return {"rows": count}


def run_datasets(source: Path, folder: Path) -> dict[str, Any]:
    """Convert as most people do."""
    import datasets

    rows = datasets.load_dataset("json", data_files=str(source), split="train", cache_dir=str(folder / "cache"))
    converted = rows.map(
        lambda row: {"converted": orjson.dumps(gemini_row(row)).decode()}, remove_columns=rows.column_names
    )
    converted.to_json(str(folder / "out.jsonl"))
    return {"rows": len(converted)}


RUNS = {"tunebridge": run_tunebridge, "orjson": run_orjson, "datasets": run_datasets}


def measure(name: str, source: Path) -> None:
    """Run one of them in this process and print what it took as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        wall = time.monotonic()
        found = RUNS[name](source, Path(folder))
        wall = time.monotonic() - wall
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu, peak = used.ru_utime + used.ru_stime, _peak_mib()
    megabytes = source.stat().st_size / 1e6
    figures = {"cpu_seconds": cpu, "wall_seconds": wall, "peak_rss_mib": peak}
    rates = {"rows_per_cpu_second": found["rows"] / cpu, "megabytes_per_cpu_second": megabytes / cpu}
    print(json.dumps({"name": name, **found, **figures, **rates}))


def _peak_mib() -> float:
    """Return this process's peak memory; the kernel's word, because ru_maxrss counts the parent's too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeat", type=int, default=2, help="turns; the best of each is shown")
    parser.add_argument("--only", choices=RUNS, action="append", help="leave the others out")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        measure(arguments.run, arguments.source)
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        make_rows(source, arguments.rows)
        results = [_turn(name, source) for _ in range(arguments.repeat) for name in arguments.only or RUNS]
    best = {r["name"]: r for r in sorted(results, key=lambda r: -r["cpu_seconds"])}
    if arguments.json:
        print(json.dumps({"results": results, "best": best}, indent=2))
    else:
        _show(best)


def _turn(name: str, source: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.data", "--run", name, "--source", str(source)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _show(best: dict[str, Any]) -> None:
    print(f"{'':12} {'rows/s':>9} {'MB/s':>7} {'CPU s':>7} {'peak MiB':>9}   of tunebridge (per CPU second)")
    ours = best.get("tunebridge", {}).get("rows_per_cpu_second")
    for name in (name for name in RUNS if name in best):
        one = best[name]
        rates = f"{one['rows_per_cpu_second']:9,.0f} {one['megabytes_per_cpu_second']:7.1f}"
        ratio = f"{one['rows_per_cpu_second'] / ours:.2f}" if ours else ""
        print(f"{name:12} {rates} {one['cpu_seconds']:7.1f} {one['peak_rss_mib']:9.0f}   {ratio}")


if __name__ == "__main__":
    main()
