"""What the inference server of an online endpoint runs: a tuned model that answers conversations.

Lies beside the package `tunebridge` in the uploaded code; the model's folder is what the job left.
"""

import json
import os
from pathlib import Path
from typing import Any

from tunebridge.training.generate import Loaded, answer_request, load

_loaded: list[Loaded] = []


def init() -> None:
    """Load the model, an adapter with the base model that it was trained on."""
    folder = Path(os.environ["AZUREML_MODEL_DIR"])  # the server puts what was registered somewhere below it
    adapter = next(folder.rglob("adapter_config.json"), None)
    if adapter:
        _loaded.append(load(json.loads(adapter.read_text())["base_model_name_or_path"], adapter.parent))
    else:
        _loaded.append(load(str(next(folder.rglob("config.json")).parent), None))


def run(raw_data: str) -> dict[str, Any]:
    """Answer a request of `tunebridge.training.answer.request_body`."""
    return answer_request(_loaded[0], json.loads(raw_data))
