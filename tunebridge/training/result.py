"""What a finished run leaves: the weights, then `result.json`, which makes the run a finished one."""

import hashlib
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebridge import __version__, digests
from tunebridge.data.dataset import Dataset
from tunebridge.training import card, files, models
from tunebridge.training import config as names

if TYPE_CHECKING:
    from tunebridge.training.loop import Loop


def write_result(folder: Path, loop: "Loop") -> None:
    """Write the adapter or model under another name, rename it, then write the result."""
    kind = "adapter" if loop.run.adapter.type != "full" else "model"
    target = folder / (names.ADAPTER_FOLDER if kind == "adapter" else names.MODEL_FOLDER)
    partial = target.with_name(target.name + ".partial")
    for left in (partial, target):  # a trainer that was killed may have come this far before
        shutil.rmtree(left, ignore_errors=True)
    tokenizer = models.load_tokenizer(loop.run.base_model)
    models.save(loop.model, loop.run.base_model, partial, loop.whole_weights)
    tokenizer.save_pretrained(partial)
    record = {
        **_trained(loop),
        "artifact_kind": kind,
        "base_model": _base_model(loop.run.base_model),
        "chat_template_digest": _template_digest(tokenizer),
        "resources": loop.resources.to_json(),
        "versions": _versions(),
    }
    card.write_card(partial, record, loop.run.model_dump(mode="json"), _fingerprint(folder))
    files.to_disk(partial)
    partial.rename(target)
    files.write_json(folder / names.RESULT_FILE, {**record, "artifact_digest": digests.of_folder(target)})


def _trained(loop: "Loop") -> dict[str, Any]:
    progress, train, validation = loop.progress, loop.train, loop.validation
    splits = {"train": train} | ({"validation": validation} if validation else {})
    has_best = loop.best is not None
    return {
        "metrics": progress.last_losses,
        "steps": progress.step,
        "total_steps": loop.total,
        "epochs": round(loop.epochs_done, 4),
        "kept_step": progress.best_step if has_best else progress.step,
        "kept_validation_loss": progress.best_loss if has_best else progress.last_losses.get("validation_loss"),
        "stopped_early": progress.stopped_early,
        "trained_tokens": progress.trained_tokens,
        "total_tokens": progress.total_tokens,
        "wall_seconds": round(progress.wall_seconds, 3),
        "compute_seconds": round(progress.compute_seconds, 3),
        "rows": {
            name: {"used": len(split.units), "dropped": split.dropped, "truncated": split.truncated}
            for name, split in splits.items()
        },
    }


def _base_model(name: str) -> dict[str, Any]:
    """Name and digest of the weights that were trained from; `random` reads none."""
    folder = None if name == names.RANDOM else models.weights_folder(name)
    return {
        "name": name,
        "digest": _weights_digest(folder) if folder else None,
        "license": card.license_of(folder),
    }


def _fingerprint(folder: Path) -> str:
    """Return the fingerprint of the rows as the dataset had it."""
    train, validation = (files.read_split(folder / name) for name in (names.TRAIN_FILE, names.VALIDATION_FILE))
    return Dataset(train, validation).fingerprint if train else ""


def _weights_digest(folder: Path) -> str:
    """Return the digest of the weights file, or of the sorted list of names and digests of several."""
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return digests.of_file(found[0])
    listed = "".join(f"{path.name} {digests.of_file(path)}\n" for path in found)
    return f"sha256:{hashlib.sha256(listed.encode()).hexdigest()}"


def _template_digest(tokenizer: Any) -> str | None:
    template = tokenizer.chat_template
    return f"sha256:{hashlib.sha256(str(template).encode()).hexdigest()}" if template else None


def _versions() -> dict[str, str]:
    return {"tunebridge": __version__, **{name: version(name) for name in ("torch", "transformers", "peft")}}
