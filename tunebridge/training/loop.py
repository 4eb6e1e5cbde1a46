"""The inner loop: optimizer steps over flat batches, evaluations, early stopping, checkpoints."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunebridge.data.tokens import RenderedRow
from tunebridge.errors import TuneBridgeError
from tunebridge.training import checkpoints, schedule
from tunebridge.training.checkpoints import Checkpoints
from tunebridge.training.config import RunConfig
from tunebridge.training.device import Resources
from tunebridge.training.events import EventLog
from tunebridge.training.packing import FlatBatch, RenderedSplit, flat_batches, step_rows

LOGS_PER_RUN = 100
"""Train losses that are kept; at fixed steps, so that a resumed run keeps the same ones."""
PROGRESS_SECONDS, PROGRESS_SHARE = 2.0, 0.01
"""A sign of life after so long, or after this share of the time so far where that is longer."""


class NonFiniteLoss(TuneBridgeError):
    """The loss is no number any more; going on would only spoil the weights."""


@dataclass
class Loop:
    """One run: everything it works with, and where it stands."""

    run: RunConfig
    model: Any
    train: RenderedSplit
    validation: RenderedSplit | None
    log: EventLog
    checkpoints: Checkpoints
    resources: Resources
    should_stop: Callable[[], bool]

    def __post_init__(self) -> None:
        self.device = torch.device(self.resources.device)
        self.optimizer = _optimizer(self.model, self.run)
        self.progress, self.best = self.checkpoints.load_newest(self.model, self.optimizer)
        self.total = schedule.total_steps(
            len(self.train.rows),
            batch_size=self.run.batch_size,
            epochs=self.run.epochs,
            max_steps=self.run.max_steps,
        )
        self._evaluations = schedule.evaluation_steps(self.total, self.run.evaluations) if self.validation else ()
        self._log_every = max(1, self.total // LOGS_PER_RUN)
        self._warmup = math.ceil(self.total * self.run.warmup_ratio)
        self._marks = (time.monotonic(), time.process_time())
        self._window = (time.monotonic(), self.progress.total_tokens)
        self._last_checkpoint = self._last_sign = time.monotonic()

    def go(self) -> bool:
        """Train to the end and return True, or to the next step's end and return False when told to stop."""
        while self.progress.step < self.total and not self.progress.stopped_early:
            if self.should_stop():
                self.save()
                return False
            self._step()
            self._after_step()
        if self.best is not None:
            checkpoints.restore(self.model, self.best)
        self._note_times()
        return True

    @property
    def epochs_done(self) -> float:
        """Passes over the training rows so far; a last, smaller batch of an epoch counts as a batch."""
        return self.progress.step / -(-len(self.train.rows) // self.run.batch_size)

    def save(self) -> None:
        """Write a checkpoint."""
        self._note_times()
        path = self.checkpoints.save(self.model, self.optimizer, self.progress, self.best)
        self._last_checkpoint = time.monotonic()
        step = self.progress.step
        self.log.event(f"checkpoint-{step}", "checkpoint", f"checkpoint after step {step}", step=step, path=path.name)

    def _step(self) -> None:
        """Do one optimizer step: the loss is the mean over all its trained tokens, however it is cut into passes."""
        step = self.progress.step
        chosen = step_rows(step, len(self.train.rows), batch_size=self.run.batch_size, seed=self.run.seed)
        rows = [self.train.rows[number] for number in chosen]
        trained = sum(row.trained_tokens for row in rows)
        loss = 0.0
        self.model.train()
        for number, batch in enumerate(self._flat(rows)):
            # Dropout is a function of seed and step, so a resumed run needs no random state.
            torch.manual_seed(hash((self.run.seed, step, number)) % 2**63)
            part = summed_loss(self.model, batch, self.resources) / trained
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.item()
        self._check_finite("loss", loss, chosen)
        self._update(step, chosen)
        self.progress.step += 1
        self.progress.loss_sum += loss * trained
        self.progress.loss_tokens += trained
        self.progress.trained_tokens += trained
        self.progress.total_tokens += sum(len(row.token_ids) for row in rows)

    def _check_finite(self, name: str, value: float, chosen: Sequence[int]) -> None:
        if not math.isfinite(value):
            lines = sorted(self.train.lines[number] for number in chosen)
            raise NonFiniteLoss(
                f"the {name} is {value} in step {self.progress.step + 1}, made from rows {lines}. Lower "
                f"hyperparameters.learning_rate, or look at these rows."
            )

    def _update(self, step: int, chosen: Sequence[int]) -> None:
        rate = self.run.learning_rate * schedule.factor(
            step, total_steps=self.total, warmup_steps=self._warmup, schedule=self.run.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.progress.last_losses["learning_rate"] = rate
        norm = torch.nn.utils.clip_grad_norm_(checkpoints.trainable(self.model).values(), self.run.max_grad_norm)
        self._check_finite("gradient's norm", float(norm), chosen)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _after_step(self) -> None:
        step = self.progress.step
        if step % self._log_every == 0 or step == self.total:
            self._report()
        elif time.monotonic() - self._last_sign > max(PROGRESS_SECONDS, PROGRESS_SHARE * self.progress.wall_seconds):
            self._show_progress(self.progress.loss_sum / self.progress.loss_tokens)
        if step in self._evaluations:
            self._evaluate()
        if step < self.total and self._is_over_time():
            self.progress.stopped_early = f"budget.max_hours {self.run.max_hours:g} was reached"
            self.log.event("stopped-early", "warning", f"{self.progress.stopped_early}; the result so far is kept")
        if time.monotonic() - self._last_checkpoint >= self.run.checkpoint_seconds and step < self.total:
            self.save()

    def _report(self) -> None:
        progress = self.progress
        loss = progress.loss_sum / progress.loss_tokens
        progress.loss_sum, progress.loss_tokens = 0.0, 0
        progress.last_losses["train_loss"] = loss
        self.log.metric("train_loss", loss, progress.step)
        self.log.metric("learning_rate", progress.last_losses["learning_rate"], progress.step)
        self._show_progress(loss)

    def _show_progress(self, loss: float) -> None:
        progress, now = self.progress, time.monotonic()
        since, tokens = self._window
        speed = (progress.total_tokens - tokens) / max(now - since, 1e-9)
        left = (self.total - progress.step) * progress.total_tokens / progress.step / max(speed, 1e-9)
        self._window, self._last_sign = (now, progress.total_tokens), now
        self.log.event(
            f"progress-{progress.step}",
            "progress",
            f"step {progress.step}/{self.total}, loss {loss:.4f}",
            step=progress.step,
            total_steps=self.total,
            epoch=round(self.epochs_done, 2),
            loss=loss,
            tokens_per_second=round(speed),
            seconds_left=round(left, 1),
        )

    def _evaluate(self) -> None:
        """Measure the loss on the validation rows and decide whether it is still worth going on."""
        assert self.validation is not None
        loss, progress = self.validation_loss(), self.progress
        if not math.isfinite(loss):
            raise NonFiniteLoss(
                f"the validation loss is {loss} after step {progress.step}. Lower hyperparameters.learning_rate."
            )
        progress.last_losses["validation_loss"] = loss
        self.log.metric("validation_loss", loss, progress.step)
        if self.run.early_stopping_patience is None:
            return
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step, progress.without_improvement = loss, progress.step, 0
            self.best = checkpoints.snapshot(self.model)
            return
        progress.without_improvement += 1
        if progress.without_improvement >= self.run.early_stopping_patience:
            progress.stopped_early = (
                f"the validation loss has not improved since step {progress.best_step}, whose weights are kept"
            )
            self.log.event("stopped-early", "log", progress.stopped_early)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Return the mean loss over the trained tokens of all validation rows."""
        assert self.validation is not None
        self.model.eval()
        rows = self.validation.rows
        total = sum(summed_loss(self.model, batch, self.resources).item() for batch in self._flat(rows))
        return total / sum(row.trained_tokens for row in rows)

    def _flat(self, rows: Sequence[RenderedRow]) -> Any:
        return flat_batches(rows, max_tokens=self.resources.tokens_per_pass, device=self.device)

    def _is_over_time(self) -> bool:
        self._note_times()
        return self.run.max_hours is not None and self.progress.wall_seconds >= self.run.max_hours * 3600

    def _note_times(self) -> None:
        wall, compute = time.monotonic(), time.process_time()
        self.progress.wall_seconds += wall - self._marks[0]
        self.progress.compute_seconds += compute - self._marks[1]
        self._marks = (wall, compute)


def summed_loss(model: nn.Module, batch: FlatBatch, resources: Resources) -> Tensor:
    """Return the cross-entropy summed over the trained tokens; logits are made at their places only."""
    with torch.autocast(resources.device, torch.bfloat16, enabled=resources.dtype == "bfloat16"):
        logits = model(
            input_ids=batch.token_ids,
            position_ids=batch.position_ids,
            use_cache=False,
            logits_to_keep=batch.places,
            layout=batch.layout,
        ).logits[0]
    return functional.cross_entropy(logits.float(), batch.targets, reduction="sum")


def _optimizer(model: nn.Module, run: RunConfig) -> torch.optim.Optimizer:
    """AdamW with transformers' defaults; biases and norms do not decay."""
    named = checkpoints.trainable(model)
    decaying = [parameter for parameter in named.values() if parameter.ndim > 1]
    others = [parameter for parameter in named.values() if parameter.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": run.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=run.learning_rate, fused=True)
