"""What a run says while it trains: measured values at fixed steps, and signs of life in between."""

import time
from dataclasses import dataclass, field

from tunebridge.training.checkpoints import Progress
from tunebridge.training.events import EventLog
from tunebridge.training.objective import means

LOGS_PER_RUN = 100
"""Train losses that are kept; at fixed steps, so that a resumed run keeps the same ones."""
PROGRESS_SECONDS, PROGRESS_SHARE = 2.0, 0.01
"""A sign of life after so long, or after this share of the time so far where that is longer."""


@dataclass
class Reporter:
    """Turns the progress of a run into metrics and progress events."""

    log: EventLog
    progress: Progress
    total: int
    """Steps of the whole run."""
    steps_per_epoch: int
    _window: tuple[float, int] = field(init=False)
    _last_sign: float = field(init=False)

    def __post_init__(self) -> None:
        self._window = (time.monotonic(), self.progress.total_tokens)
        self._last_sign = time.monotonic()

    def after_step(self) -> None:
        """Say what is due after a step."""
        step = self.progress.step
        if step % max(1, self.total // LOGS_PER_RUN) == 0 or step == self.total:
            self._report()
        elif time.monotonic() - self._last_sign > max(PROGRESS_SECONDS, PROGRESS_SHARE * self.progress.wall_seconds):
            self._show(self.progress.sums["loss"] / self.progress.weight)

    def measured(self, values: dict[str, float]) -> None:
        """Write values as metrics of the current step and remember them as the newest."""
        self.progress.last_losses.update(values)
        for name, value in values.items():
            self.log.metric(name, value, self.progress.step)

    def validated(self, values: dict[str, float]) -> None:
        """Tell of a validation in words, for those who follow events."""
        step, loss = self.progress.step, values["validation_loss"]
        text = f"validation loss {loss:.4f} after step {step}"
        self.log.event(f"validation-{step}", "log", text, step=step, **values)

    def _report(self) -> None:
        progress = self.progress
        found = means(progress.sums, progress.weight)
        progress.weight, progress.sums = 0, {}
        loss = found.pop("loss")
        self.measured({"train_loss": loss, "learning_rate": progress.last_losses["learning_rate"], **found})
        self._show(loss)

    def _show(self, loss: float) -> None:
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
            epoch=round(progress.step / self.steps_per_epoch, 2),
            loss=loss,
            tokens_per_second=round(speed),
            seconds_left=round(left, 1),
        )
