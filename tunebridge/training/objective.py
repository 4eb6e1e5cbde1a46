"""What is minimised: imitation, preferring one answer to another, or judged answers; sums, so that passes add up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional

from tunebridge.data.rendering.render import RenderedRow
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
    """Further measures, summed in the same way; `NAME:count` is what NAME is divided by instead."""


def means(sums: Mapping[str, float], weight: int) -> dict[str, float]:
    """Return the means behind sums; a measure of which there was nothing to count is left out."""
    counts = {name: sums.get(f"{name}:count", weight) for name in sums if not name.endswith(":count")}
    return {name: sums[name] / count for name, count in counts.items() if count}


class Objective(Protocol):
    """A method of training."""

    def of_step(self, units: Sequence[Unit], log_ratio: Callable[[Sequence[Unit]], float]) -> Self:
        """Return the objective of one step's units: itself, unless something has to be known before the first pass.

        `log_ratio` measures, without training, the mean of log(policy / reference) over units of one row.
        """
        return self

    def weight(self, unit: Unit) -> int:
        """Return what a unit counts in the mean loss."""

    def measure(self, model: Any, batch: FlatBatch, resources: Resources) -> Outcome:
        """Compute the summed loss of a pass."""


def objective(run: RunConfig) -> Objective:
    """Return the objective of a run's method."""
    if run.method == "kto":
        return Desirability(run.beta, run.max_length)
    return Preference(run.beta) if run.method == "dpo" else Imitation()


@dataclass(frozen=True)
class Imitation(Objective):
    """Cross-entropy, averaged over the trained tokens of all rows of a step (sft)."""

    def weight(self, unit: Unit) -> int:
        """Return the unit's trained tokens."""
        return unit.trained_tokens

    def measure(self, model: Any, batch: FlatBatch, resources: Resources) -> Outcome:
        """Sum the cross-entropy over the trained tokens."""
        return Outcome(token_losses(model, batch, resources).sum())


@dataclass(frozen=True)
class Preference(Objective):
    """Direct preference optimisation (dpo): Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, equation 7.

    The reference is the base model: the same weights with the adapter off, or log-probabilities computed beforehand.
    """

    beta: float

    def weight(self, unit: Unit) -> int:
        """Return 1: each pair counts the same."""
        return 1

    def measure(self, model: Any, batch: FlatBatch, resources: Resources) -> Outcome:
        """Sum the loss over the pairs, with the rewards that the policy implies."""
        rewards = self.beta * log_ratios(model, batch, resources).view(-1, 2)
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


@dataclass(frozen=True)
class Desirability(Objective):
    """Kahneman-Tversky optimisation (kto): Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306, equations 7 and 8.

    As TRL computes it: how far the policy has moved is estimated once for a whole step, from its questions with the
    answers of other rows; good and bad answers count the same.
    """

    beta: float
    max_length: int
    """Most tokens of a question with another row's answer; what is behind is cut off."""
    kl: float = 0.0
    """The step's estimate of the divergence between policy and reference, in nats."""

    def of_step(self, units: Sequence[Unit], log_ratio: Callable[[Sequence[Unit]], float]) -> Self:
        """Return the objective with the step's divergence."""
        return replace(self, kl=max(0.0, log_ratio(mismatched(units, self.max_length))))

    def weight(self, unit: Unit) -> int:
        """Return 1: each answer counts the same."""
        return 1

    def measure(self, model: Any, batch: FlatBatch, resources: Resources) -> Outcome:
        """Sum the loss over the answers, with the rewards that the policy implies."""
        good = batch.is_good
        assert good is not None  # the rows of this method say so
        rewards = self.beta * log_ratios(model, batch, resources)
        gains = torch.where(good, rewards - self.beta * self.kl, self.beta * self.kl - rewards)
        said = rewards.detach()
        return Outcome(
            (1 - gains.sigmoid()).sum(),
            {
                "kl": self.kl * len(good),
                "reward_desirable": float(said[good].sum()),
                "reward_desirable:count": float(good.sum()),
                "reward_undesirable": float(said[~good].sum()),
                "reward_undesirable:count": float((~good).sum()),
            },
        )


def mismatched(units: Sequence[Unit], max_length: int) -> list[Unit]:
    """Return each unit's question with the answer of the unit before it, the first with the last one's."""
    found = []
    for unit, other in zip(units, (units[-1], *units[:-1]), strict=True):
        question = unit.rows[0].token_ids[: unit.rows[0].is_trained.index(True)]
        answer = [token for token, mark in zip(*other.rows[0], strict=True) if mark]
        marks = [False] * len(question) + [True] * len(answer)
        found.append(Unit((RenderedRow(question + answer, marks).cut(max_length),)))
    return found


def log_ratios(model: Any, batch: FlatBatch, resources: Resources) -> Tensor:
    """Return log(policy / reference) of each row's trained tokens, (rows,)."""
    return row_log_probabilities(model, batch, resources) - reference_of(model, batch, resources)


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
