"""What works behind the emulator: adapters of the shipped model that are really trained, one step per call.

PyTorch is imported inside the functions; an adapter lies on disk, and the last one used stays in memory.
"""

import threading
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tunebridge.training.config import NANO, AdapterConfig

LEARNING_RATE = 5e-3
IGNORED = -100
"""Label of a token that is not trained."""


class _Loaded(NamedTuple):
    adapter_id: str | None
    calls: int
    model: Any
    optimizer: Any


class Tuner:
    """Adapters by id in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._turn = folder, threading.Lock()
        self._loaded: _Loaded | None = None

    def step(self, adapter: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> tuple[int, float]:
        """Train an adapter with one step over samples, and return the trained tokens and the sum of their losses."""
        with self._turn:
            loaded = self._load(adapter)
            tokens, total = 0, 0.0
            weighted: Any = 0.0  # a tensor once there are samples
            for sample in samples:
                ids, labels = self._encoded(sample)
                loss = _sum_of_losses(loaded.model, ids, labels)
                multiplier = (sample.get("fineTuningParameters") or {}).get("multiplier") or 1.0
                tokens += sum(label != IGNORED for label in labels[1:])
                total += float(loss.detach())
                weighted = weighted + multiplier * loss
            (weighted / max(tokens, 1)).backward()
            loaded.optimizer.step()
            loaded.optimizer.zero_grad()
            self._keep(loaded)
        return tokens, total

    def complete(
        self, adapter: Mapping[str, Any] | None, query: str, max_tokens: int, temperature: float
    ) -> tuple[str, str]:
        """Return how an answer ended, and the answer."""
        import torch

        with self._turn:
            model = self._load(adapter).model
            tokenizer = _tokenizer()
            ids = torch.tensor([tokenizer(query)["input_ids"]])
            sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
            with torch.no_grad():
                written = model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, **sampling
                )[0, ids.shape[1] :].tolist()
        ended = tokenizer.eos_token_id in written
        return "stop" if ended else "length", tokenizer.decode(written, skip_special_tokens=True)

    def _load(self, adapter: Mapping[str, Any] | None) -> _Loaded:
        wanted = (adapter["id"], adapter["calls"]) if adapter else (None, 0)
        if self._loaded is None or self._loaded[:2] != wanted:
            self._loaded = self._read(adapter)
        return self._loaded

    def _read(self, adapter: Mapping[str, Any] | None) -> _Loaded:
        import torch

        from tunebridge.training import models
        from tunebridge.training.adapters import add_adapter

        base = models.load_base(NANO)
        if adapter is None:
            return _Loaded(None, 0, base.eval(), None)
        if adapter["calls"]:
            from peft import PeftModel

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # what peft causes inside transformers
                model = PeftModel.from_pretrained(base, str(self._folder / adapter["id"]), is_trainable=True)
        else:
            config = AdapterConfig(type="lora", rank=adapter["rank"] or 8, alpha=2.0 * (adapter["rank"] or 8))
            model = add_adapter(base, config, seed=0)
        trained = [weights for weights in model.parameters() if weights.requires_grad]
        rate = adapter["learning_rate"] or LEARNING_RATE
        return _Loaded(adapter["id"], adapter["calls"], model.eval(), torch.optim.AdamW(trained, lr=rate))

    def _keep(self, loaded: _Loaded) -> None:
        from tunebridge.training import models

        folder = self._folder / str(loaded.adapter_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        models.save(loaded.model, NANO, folder)
        self._loaded = loaded._replace(calls=loaded.calls + 1)

    def _encoded(self, sample: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """Return tokens and labels; parts that are not trainable have none, and the end is trained."""
        tokenizer = _tokenizer()
        given = sample["inputs"]
        parts = [{"value": given}] if isinstance(given, str) else given
        ids: list[int] = []
        labels: list[int] = []
        for part in parts:
            found = tokenizer(part["value"], add_special_tokens=False)["input_ids"]
            ids += found
            labels += found if part.get("trainable", True) else [IGNORED] * len(found)
        return [*ids, tokenizer.eos_token_id], [*labels, tokenizer.eos_token_id]


def _sum_of_losses(model: Any, ids: Sequence[int], labels: Sequence[int]) -> Any:
    import torch
    from torch.nn.functional import cross_entropy

    logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
    return cross_entropy(logits.float(), torch.tensor(labels[1:]), ignore_index=IGNORED, reduction="sum")


@cache
def _tokenizer() -> Any:
    from tunebridge.training import models

    return models.load_tokenizer(NANO)
