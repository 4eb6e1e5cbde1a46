"""The shipped model in place of one that an emulated machine does not have: rehearsals need no network."""

import json
import shutil
import tarfile
import tempfile
from pathlib import Path

from tunebridge.training.bundle import archive
from tunebridge.training.config import NANO, RUN_FILE
from tunebridge.training.sources import packaged_nano


def stand_in(channels: Path) -> str | None:
    """Let the uploaded run train the shipped model where it names one of a hub; return the name of that one."""
    if not (channels / "run" / "run.tar.gz").exists():  # somebody else's container, or one of the catalogue
        return None
    with tempfile.TemporaryDirectory() as name:
        run, source = Path(name) / "run", Path(name) / "source"
        _unpack(channels / "run" / "run.tar.gz", run)
        config = json.loads((run / RUN_FILE).read_text())
        wanted = str(config["base_model"])
        if "/" not in wanted or wanted == NANO or wanted.startswith("/"):
            return None
        limit = json.loads((packaged_nano() / "config.json").read_text())["max_position_embeddings"]
        config.update(base_model=NANO, max_length=min(config["max_length"], limit))
        (run / RUN_FILE).write_text(json.dumps(config))
        archive(run, channels / "run" / "run.tar.gz")
        _unpack(channels / "code" / "source.tar.gz", source)
        shutil.copytree(packaged_nano(), source / "tunebridge" / "models" / "nano")
        archive(source, channels / "code" / "source.tar.gz")
    return wanted


def _unpack(packed: Path, target: Path) -> None:
    with tarfile.open(packed) as tar:
        tar.extractall(target, filter="data")
