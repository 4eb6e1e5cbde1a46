"""What Amazon's inference container loads from `code/` of the archive: a tuned model that answers conversations.

Stands alone beside the package `tunebridge`, which lies in the same folder of the archive.
"""

import json
from pathlib import Path
from typing import Any

from tunebridge.training.generate import Loaded, answer_request, load


def model_fn(model_dir: str, context: Any = None) -> Loaded:
    """Load the model of an archive; an adapter with the base model that it was trained on."""
    folder = Path(model_dir)
    if (folder / "model").is_dir():
        return load(str(folder / "model"), None)
    base_model = json.loads((folder / "result.json").read_text())["base_model"]["name"]
    return load(base_model, folder / "adapter")


def predict_fn(data: dict[str, Any], model: Loaded, context: Any = None) -> dict[str, Any]:
    """Answer a request of `tunebridge.training.answer.request_body`."""
    return answer_request(model, data)
