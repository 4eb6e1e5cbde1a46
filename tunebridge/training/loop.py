"""The inner loop: optimizer steps over flat batches, evaluations, early stopping, checkpoints."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from tunebridge.errors import TuneBridgeError
from tunebridge.training import checkpoints, schedule
from tunebridge.training.checkpoints import Checkpoints
from tunebridge.training.config import RunConfig
from tunebridge.training.device import Resources
from tunebridge.training.events import EventLog
from tunebridge.training.memory import smaller
from tunebridge.training.objective import Objective, Outcome, log_ratios, means
from tunebridge.training.optimizer import adamw
from tunebridge.training.packing import FlatBatch, flat_batches, step_rows
from tunebridge.training.process import is_out_of_memory
from tunebridge.training.ranks import Ranks
from tunebridge.training.report import Reporter
from tunebridge.training.rows import RenderedSplit, Unit
from tunebridge.training.sharding import gather, gathered, is_sharded

Result = TypeVar("Result")


class NonFiniteLoss(TuneBridgeError):
    """The loss is no number any more; going on would only spoil the weights."""


@dataclass
class Loop:
    """One run: everything it works with, and where it stands."""

    run: RunConfig
    model: Any
    objective: Objective
    train: RenderedSplit
    validation: RenderedSplit | None
    log: EventLog
    checkpoints: Checkpoints
    resources: Resources
    should_stop: Callable[[], bool]
    ranks: Ranks = Ranks()
    on_smaller_passes: Callable[[Resources], None] = lambda resources: None
    """Told when memory ran out and the passes were made smaller."""

    def __post_init__(self) -> None:
        self.device = torch.device(self.resources.device)
        self.is_sharded = is_sharded(self.model)
        self.whole_weights: dict[str, torch.Tensor] | None = None
        """After the end, of a sharded model: what is saved, gathered from all processes."""
        self.optimizer = adamw(self.model, self.run)
        self.progress, self.best = self.checkpoints.load_newest(self.model, self.optimizer)
        rows = len(self.train.units)
        self.total = schedule.total_steps(
            rows, batch_size=self.run.rows_per_step, epochs=self.run.epochs, max_steps=self.run.max_steps
        )
        self.steps_per_epoch = -(-rows // self.run.rows_per_step)
        self.reporter = Reporter(self.log, self.progress, self.total, self.steps_per_epoch)
        self._evaluations = schedule.evaluation_steps(self.total, self.run.evaluations) if self.validation else ()
        self._warmup = math.ceil(self.total * self.run.warmup_ratio)
        self._marks = (time.monotonic(), time.process_time())
        self._last_checkpoint = time.monotonic()

    def go(self) -> bool:
        """Train to the end and return True, or to the next step's end and return False when told to stop."""
        while self.progress.step < self.total and not self.progress.stopped_early:
            if self.ranks.any(self.should_stop()):
                self.save()
                return False
            self._step()
            self._after_step()
        if self.best is not None:
            checkpoints.restore(self.model, self.best)
        self.whole_weights = gathered(self.model, keep=self.ranks.is_first)
        self._note_times()
        return True

    @property
    def epochs_done(self) -> float:
        """Passes over the training rows so far; a last, smaller batch of an epoch counts as a batch."""
        return self.progress.step / self.steps_per_epoch

    def save(self) -> None:
        """Write a checkpoint; of several processes the first one does, with the parts of all where there are parts."""
        self._note_times()
        if self.ranks.is_first or self.is_sharded:
            tensors = checkpoints.tensors_by_file(self.model, self.optimizer, self.best, keep=self.ranks.is_first)
            if self.ranks.is_first:
                self._write_checkpoint(tensors)
        self.ranks.wait()
        self._last_checkpoint = time.monotonic()

    def _write_checkpoint(self, tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        path = self.checkpoints.save(tensors, self.progress)
        step = self.progress.step
        self.log.event(f"checkpoint-{step}", "checkpoint", f"checkpoint after step {step}", step=step, path=path.name)

    def _step(self) -> None:
        """Do one optimizer step: the loss is the mean over its units, however they are cut into passes."""
        step, progress = self.progress.step, self.progress
        chosen = step_rows(step, len(self.train.units), batch_size=self.run.rows_per_step, seed=self.run.seed)
        units = [self.train.units[number] for number in chosen]
        weight = sum(self.objective.weight(unit) for unit in units)
        objective = self.objective.of_step(units, self._log_ratio)
        sums = self.ranks.add(self._within_memory(units, lambda: self._passes(objective, units, weight)))
        self.ranks.add_gradients(checkpoints.trainable(self.model).values())
        self._check_finite("loss", sums["loss"] / weight, chosen)
        self._update(step, chosen)
        progress.step += 1
        progress.weight += weight
        for name, value in sums.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.trained_tokens += sum(unit.trained_tokens for unit in units)
        progress.total_tokens += sum(unit.tokens for unit in units)

    def _within_memory(self, units: Sequence[Unit], compute: Callable[[], Result]) -> Result:
        """Return what is computed for a step's units; smaller passes are tried when memory runs out."""
        while True:
            try:
                return compute()
            except (RuntimeError, MemoryError) as error:
                if self.is_sharded or not is_out_of_memory(error):
                    raise  # processes that hold parts cannot do a pass again each for itself
            # Here, behind the except clause, nothing holds the failed pass's tensors any more.
            self.optimizer.zero_grad()
            self.resources = smaller(self.resources, max(unit.tokens for unit in units), self.run)
            self.on_smaller_passes(self.resources)

    def _passes(self, objective: Objective, units: Sequence[Unit], weight: int) -> dict[str, float]:
        """Add up the gradients of this process's part of a step and return its sums."""
        sums = {"loss": 0.0}
        self.model.train()
        for number, (batch, share) in enumerate(self._in_step(self.ranks.own(units))):
            # Dropout is a function of seed and step, so a resumed run needs no random state.
            part = number * self.ranks.count + self.ranks.rank
            torch.manual_seed(hash((self.run.seed, self.progress.step, part)) % 2**63)
            outcome = objective.measure(self.model, batch, self.resources)
            (outcome.loss * share / weight).backward()  # type: ignore[no-untyped-call]
            if share:
                _add(sums, outcome)
        return sums

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
        self._check_finite("gradient's norm", float(gather(norm, keep=True)), chosen)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _after_step(self) -> None:
        step = self.progress.step
        self.reporter.after_step()
        if step in self._evaluations:
            self._evaluate()
        if step < self.total and self._is_over_time():
            self.progress.stopped_early = f"budget.max_hours {self.run.max_hours:g} was reached"
            self.log.event("stopped-early", "warning", f"{self.progress.stopped_early}; the result so far is kept")
        is_due = time.monotonic() - self._last_checkpoint >= self.run.checkpoint_seconds
        if step < self.total and self.ranks.any(is_due):
            self.save()

    def _evaluate(self) -> None:
        """Measure the validation rows and decide which weights are kept and whether it is worth going on."""
        measured, progress = self.validate(), self.progress
        loss = measured["validation_loss"]
        if not math.isfinite(loss):
            raise NonFiniteLoss(
                f"the validation loss is {loss} after step {progress.step}. Lower hyperparameters.learning_rate."
            )
        self.reporter.measured(measured)
        self.reporter.validated(measured)
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step, progress.without_improvement = loss, progress.step, 0
            self.best = checkpoints.snapshot(self.model) if self.run.keep == "best" else None
            return
        progress.without_improvement += 1
        patience = self.run.early_stopping_patience
        if patience is not None and progress.without_improvement >= patience:
            kept = ", whose weights are kept" if self.run.keep == "best" else ""
            progress.stopped_early = f"the validation loss has not improved since step {progress.best_step}{kept}"
            self.log.event("stopped-early", "log", progress.stopped_early)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the means over all validation rows, each with `validation_` before its name."""
        assert self.validation is not None
        self.model.eval()
        units = self.validation.units
        sums: dict[str, float] = {}
        objective = self.objective.of_step(units, self._log_ratio)
        for batch, share in self._in_step(self.ranks.own(units)):
            outcome = objective.measure(self.model, batch, self.resources)
            if share:
                _add(sums, outcome)
        weight = sum(objective.weight(unit) for unit in units)
        return {f"validation_{name}": value for name, value in means(self.ranks.add(sums), weight).items()}

    @torch.no_grad()
    def _log_ratio(self, units: Sequence[Unit]) -> float:
        """Return the mean of log(policy / reference) over units of one row."""
        self.model.eval()

        def total() -> dict[str, float]:
            batches = self._in_step(self.ranks.own(units))
            found = ((log_ratios(self.model, batch, self.resources).sum(), share) for batch, share in batches)
            return {"sum": sum(float(ratio) * share for ratio, share in found)}

        return self.ranks.add(self._within_memory(units, total))["sum"] / len(units)

    def _flat(self, units: Sequence[Unit]) -> Iterator[FlatBatch]:
        return flat_batches(units, max_tokens=self.resources.tokens_per_pass, device=self.device)

    def _in_step(self, units: Sequence[Unit]) -> Iterator[tuple[FlatBatch, int]]:
        """Yield passes with 1, and 0 for those that only keep step with processes that have more of them.

        A sharded layer is there while all compute it, so each must go through the model as often as the others.
        """
        if not self.is_sharded:
            yield from ((batch, 1) for batch in self._flat(units))
            return
        batches = list(self._flat(units))
        yield from ((batch, 1) for batch in batches)
        for _ in range(self.ranks.most(len(batches)) - len(batches)):
            yield next(self._flat(self.train.units[:1])), 0

    def _is_over_time(self) -> bool:
        self._note_times()
        hours = self.run.max_hours
        return hours is not None and self.ranks.any(self.progress.wall_seconds >= hours * 3600)

    def _note_times(self) -> None:
        wall, compute = time.monotonic(), time.process_time()
        self.progress.wall_seconds += wall - self._marks[0]
        self.progress.compute_seconds += compute - self._marks[1]
        self._marks = (wall, compute)


def _add(sums: dict[str, float], outcome: Outcome) -> None:
    for name, value in {"loss": outcome.loss.item(), **outcome.sums}.items():
        sums[name] = sums.get(name, 0.0) + value
