"""`python -m tests.parity.peer RUN_FOLDER OUT`: train a run folder's job with TRL and PEFT instead of our trainer.

A process of its own, because accelerate sets environment variables. The peer gets the same rendered rows in the same
order and a LoRA adapter with the same start; batches, loss, optimizer and schedule are its own.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset as Table
from transformers import TrainerCallback

from tunebridge.data.dataset import Split
from tunebridge.data.rendering.render import RenderedRow, render
from tunebridge.training import adapters, models, packing, schedule
from tunebridge.training.config import RunConfig
from tunebridge.training.rows import render_preference


class Losses(TrainerCallback):
    """Keeps what the peer logs after each step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.rows.append(dict(logs))


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    run = RunConfig.read(folder)
    torch.set_num_threads(1)
    examples = tuple(Split.read(folder / "train.jsonl"))
    total = schedule.total_steps(len(examples), batch_size=run.batch_size, epochs=run.epochs, max_steps=run.max_steps)
    order = [
        number
        for step in range(total)
        for number in packing.step_rows(step, len(examples), batch_size=run.batch_size, seed=run.seed)
    ]
    losses = Losses()
    make = _dpo if run.method == "dpo" else _sft
    trainer = make(run, [examples[number] for number in order], total, out, losses)
    trainer.train()
    out.mkdir(exist_ok=True)
    (out / "losses.json").write_text(json.dumps(losses.rows))
    models.save(trainer.model, run.base_model, out / "artifact")


def _arguments(run: RunConfig, total: int, out: Path) -> dict[str, Any]:
    return {
        "output_dir": str(out),
        "max_steps": total,
        "per_device_train_batch_size": run.batch_size,
        "learning_rate": run.learning_rate,
        "lr_scheduler_type": run.schedule,
        "warmup_steps": run.warmup_ratio,
        "weight_decay": run.weight_decay,
        "max_grad_norm": run.max_grad_norm,
        "max_length": run.max_length,
        "train_sampling_strategy": "sequential",
        "dataloader_drop_last": False,
        "logging_steps": 1,
        "logging_first_step": True,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "seed": run.seed,
    }


def _model(run: RunConfig) -> Any:
    model = models.load_base(run.base_model, seed=run.seed)
    return adapters.add_adapter(model, run.adapter, seed=run.seed) if run.adapter.type != "full" else model


def _sft(run: RunConfig, examples: list[Any], total: int, out: Path, losses: Losses) -> Any:
    from trl import SFTConfig, SFTTrainer

    tokenizer = models.load_tokenizer(run.base_model)
    rows = [_labelled(render(example, tokenizer)) for example in examples]
    return SFTTrainer(
        model=_model(run),
        args=SFTConfig(**_arguments(run, total, out)),
        train_dataset=Table.from_list(rows),
        processing_class=tokenizer,
        callbacks=[losses],
    )


def _dpo(run: RunConfig, examples: list[Any], total: int, out: Path, losses: Losses) -> Any:
    from trl import DPOConfig, DPOTrainer

    class Prepared(DPOTrainer):  # type: ignore[misc]
        """Takes rows that are tokens already, so that both sides train the same ones."""

        def _prepare_dataset(self, dataset: Table, *others: Any) -> Table:
            return dataset

    tokenizer = models.load_tokenizer(run.base_model)
    full = run.adapter.type == "full"
    return Prepared(
        model=_model(run),
        ref_model=_model(run) if full else None,
        args=DPOConfig(**_arguments(run, total, out), beta=run.beta),
        train_dataset=Table.from_list([_answers(render_preference(example, tokenizer)) for example in examples]),
        processing_class=tokenizer,
        callbacks=[losses],
    )


def _answers(rows: tuple[RenderedRow, ...]) -> dict[str, list[int]]:
    """Cut a pair into prompt and answers; what a template writes behind an answer is not trained and left out."""
    start = rows[0].is_trained.index(True)
    preferred, rejected = ([token for token, mark in list(zip(*row, strict=True))[start:] if mark] for row in rows)
    return {"prompt_ids": rows[0].token_ids[:start], "chosen_ids": preferred, "rejected_ids": rejected}


def _labelled(row: RenderedRow) -> dict[str, list[int]]:
    ids, marks = row
    return {"input_ids": ids, "labels": [token if mark else -100 for token, mark in zip(ids, marks, strict=True)]}


if __name__ == "__main__":
    main()
