"""What is minimised: imitation of answers, or preferring one answer to another; sums, so that passes add up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from tunebridge.training.config import RunConfig
from tunebridge.training.device import Resources
from tunebridge.training.head import token_losses
from tunebridge.training.packing import FlatBatch
from tunebridge.training.rows import Unit


class Outcome(NamedTuple):
    """What one pass gives."""

    loss: Tensor
    """Summed over the pass's units; the step's loss is the sum over passes, divided by the units' weights."""
    sums: Mapping[str, float] = {}
    """Further measures, summed in the same way."""


class Objective(Protocol):
    """A method of training."""

    def weight(self, unit: Unit) -> int:
        """Return what a unit counts in the mean loss."""

    def measure(self, model: Any, batch: FlatBatch, resources: Resources) -> Outcome:
        """Compute the summed loss of a pass."""


def objective(run: RunConfig) -> Objective:
    """Return the objective of a run's method."""
    return Preference(run.beta) if run.method == "dpo" else Imitation()


@dataclass(frozen=True)
class Imitation:
    """Cross-entropy, averaged over the trained tokens of all rows of a step (sft)."""

    def weight(self, unit: Unit) -> int:
        """Return the unit's trained tokens."""
        return unit.trained_tokens

    def measure(self, model: Any, batch: FlatBatch, resources: Resources) -> Outcome:
        """Sum the cross-entropy over the trained tokens."""
        return Outcome(token_losses(model, batch, resources).sum())


@dataclass(frozen=True)
class Preference:
    """Direct preference optimisation (dpo): Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, equation 7.

    The reference is the base model: the same weights with the adapter off, or log-probabilities computed beforehand.
    """

    beta: float

    def weight(self, unit: Unit) -> int:
        """Return 1: each pair counts the same."""
        return 1

    def measure(self, model: Any, batch: FlatBatch, resources: Resources) -> Outcome:
        """Sum the loss over the pairs, with the rewards that the policy implies."""
        policy = row_log_probabilities(model, batch, resources)
        rewards = self.beta * (policy - reference_of(model, batch, resources)).view(-1, 2)
        margins = rewards[:, 0] - rewards[:, 1]
        said = rewards.detach()
        return Outcome(
            -functional.logsigmoid(margins).sum(),
            {
                "reward_accuracy": float((said[:, 0] > said[:, 1]).sum()),
                "reward_margin": float((said[:, 0] - said[:, 1]).sum()),
                "reward_preferred": float(said[:, 0].sum()),
                "reward_rejected": float(said[:, 1].sum()),
            },
        )


def reference_of(model: Any, batch: FlatBatch, resources: Resources) -> Tensor:
    """Return each row's log-probability under the base model: as computed beforehand, or with the adapter off."""
    if batch.reference is not None:
        return batch.reference
    training = model.training
    model.eval()  # the reference has no dropout
    with torch.no_grad(), model.disable_adapter():
        found = row_log_probabilities(model, batch, resources)
    model.train(training)
    return found


def row_log_probabilities(model: Any, batch: FlatBatch, resources: Resources) -> Tensor:
    """Return the log-probability of each row's trained tokens, (rows,)."""
    losses = token_losses(model, batch, resources)
    rows = int(batch.owners[-1]) + 1
    return torch.zeros(rows, device=losses.device).index_add(0, batch.owners, -losses)
