"""From a run folder to a Loop that is ready to go: resources, model, rendered rows, checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tunebridge.errors import DataError, SpecError
from tunebridge.training import config as names
from tunebridge.training import device, memory, models
from tunebridge.training.checkpoints import Checkpoints
from tunebridge.training.config import RunConfig
from tunebridge.training.device import Resources
from tunebridge.training.events import EventLog
from tunebridge.training.loop import Loop
from tunebridge.training.packing import RenderedSplit, render_split
from tunebridge.training.run import RESOURCES_FILE, read_config, read_split


def prepare(folder: Path, log: EventLog, should_stop: Callable[[], bool]) -> Loop:
    """Load everything that a run needs; with checkpoints in the folder the run goes on from the newest."""
    run = read_config(folder)
    resources = _resources(folder, run)
    resources.apply()
    log.event(f"resources-{log.attempt}", "log", f"training on {resources.reason}", **resources.to_json())
    tokenizer = models.load_tokenizer(run.base_model)
    train, validation = _rows(folder, run, tokenizer, log)
    model = _model(run, resources, tokenizer)
    longest = max(len(row.token_ids) for split in (train, validation) if split for row in split.rows)
    loop = Loop(
        run=run,
        model=model,
        train=train,
        validation=validation,
        log=log,
        checkpoints=Checkpoints(folder / names.CHECKPOINTS_FOLDER, run.keep_checkpoints),
        resources=resources,
        tokens_per_pass=memory.tokens_per_pass(model, longest, resources.device),
        should_stop=should_stop,
    )
    if loop.progress.step:
        log.event(f"resumed-{log.attempt}", "log", f"going on after step {loop.progress.step}")
    return loop


def _resources(folder: Path, run: RunConfig) -> Resources:
    """Choose once per run folder: a resumed run must round as the first part did."""
    path = folder / RESOURCES_FILE
    if path.exists():
        return Resources(**json.loads(path.read_text()))
    chosen = device.choose(run)
    path.write_text(json.dumps(chosen.to_json()))
    return chosen


def _rows(folder: Path, run: RunConfig, tokenizer: Any, log: EventLog) -> tuple[RenderedSplit, RenderedSplit | None]:
    train = read_split(folder / names.TRAIN_FILE)
    if train is None:
        raise DataError("the run folder has no training rows. Submit the job again.", file=folder / names.TRAIN_FILE)
    rendered = render_split(train, tokenizer, run)
    held_out = read_split(folder / names.VALIDATION_FILE)
    validation = render_split(held_out, tokenizer, run) if held_out else None
    for word, count in (("dropped", rendered.dropped), ("truncated", rendered.truncated)):
        if count:
            text = f"{count} of {len(train)} rows are longer than max_length {run.max_length} and were {word}"
            log.event(f"{word}-rows", "warning", text, rows=count)
    end = tokenizer.eos_token_id
    if not any(end in row.token_ids and row.is_trained[-1 - row.token_ids[::-1].index(end)] for row in rendered.rows):
        log.event("end-token", "warning", "no answer's end token is trained: the tuned model may not know when to stop")
    return rendered, validation


def _model(run: RunConfig, resources: Resources, tokenizer: Any) -> Any:
    model = models.load_base(run.base_model, seed=run.seed, flat=True)
    models.check_tokenizer(model, tokenizer)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and run.max_length > limit:
        raise SpecError(
            f"hyperparameters.max_length is {run.max_length}, but the model takes at most {limit}. Lower it."
        )
    if run.adapter.type == "lora":
        model = models.add_adapter(model, run.adapter, seed=run.seed)
    return model.to(torch.device(resources.device))
