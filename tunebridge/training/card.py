"""The model card (README.md) of a result: what it was made from and with, and what was measured."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CARD_FILE = "README.md"
LICENSE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")


def write_card(folder: Path, record: Mapping[str, Any], run: Mapping[str, Any], fingerprint: str) -> None:
    """Write the card into a folder of weights; `record` is `result.json`, `run` is `run.json` as plain values."""
    base = record["base_model"]
    front = [
        "---",
        "library_name: " + ("peft" if record["artifact_kind"] == "adapter" else "transformers"),
        *([f"base_model: {base['name']}"] if not Path(str(base["name"])).is_absolute() else []),
        *([f"license: {base['license']}"] if re.fullmatch(r"[a-z0-9.-]+", base["license"] or "") else []),
        f"tags: [tunebridge, {run['method']}]",
        "---",
    ]
    body = [
        f"# {run['job_id']}",
        f"{record['artifact_kind'].capitalize()} made by TuneBridge {record['versions']['tunebridge']} "
        f"with the method {run['method']}.",
        "## Made from",
        _table(
            {
                "base model": Path(str(base["name"])).name if Path(str(base["name"])).is_absolute() else base["name"],
                "digest of its weights": base["digest"] or "none: random weights",
                "its licence": base["license"] or "not stated in its folder; look where it came from",
                "fingerprint of the data": fingerprint,
                "rows": ", ".join(f"{count['used']} {name}" for name, count in record["rows"].items()),
            }
        ),
        "## Measured",
        _table({name: f"{value:.6g}" for name, value in sorted(record["metrics"].items())}),
        "## How",
        _table(_settings(run)),
        "## With",
        _table(record["versions"]),
    ]
    (folder / CARD_FILE).write_text("\n".join(front) + "\n\n" + "\n\n".join(body) + "\n")


def license_of(folder: Path | None) -> str | None:
    """Return the licence that a base model's folder states: in its card's header, or the name of a licence file."""
    if folder is None:
        return None
    card = folder / CARD_FILE
    if card.is_file():
        header = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
        found = re.search(r"^license:\s*(\S+)\s*$", header.group(1), re.MULTILINE) if header else None
        if found:
            return found.group(1).strip("'\"")
    return next((f"see {name} of the base model" for name in LICENSE_FILES if (folder / name).is_file()), None)


def _settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was set, one line each; what is about the machine and not about the result stays out."""
    hidden = {"job_id", "base_model", "adapter", "checkpoint_seconds", "keep_checkpoints", "device", "threads"}
    adapter = {f"adapter.{name}": value for name, value in run["adapter"].items()}
    return {name: value for name, value in {**run, **adapter}.items() if name not in hidden and value is not None}


def _table(rows: Mapping[str, Any]) -> str:
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items())
