"""The sides of the training benchmark: `python -m benchmarks.sides SIDE SIZE` trains once and prints one JSON line."""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import workload
from benchmarks.workload import ChatRow, Speed

WARM_UP_STEPS = 2
PACKED_TOKENS = 1024
"""Length of TRL's packed rows, its default max_length."""


def ours(options: argparse.Namespace) -> Speed:
    """Train with TuneBridge's loop as `tunebridge.training` sets it up."""
    from tunebridge.data.rendering.render import RenderedRow
    from tunebridge.training import checkpoints, device, memory, objective, prepare
    from tunebridge.training.config import AdapterConfig, RunConfig
    from tunebridge.training.events import EventLog
    from tunebridge.training.loop import Loop
    from tunebridge.training.rows import RenderedSplit, Unit

    run = RunConfig(
        job_id="benchmark", base_model="random", adapter=AdapterConfig(type="lora", rank=workload.RANK), epochs=1,
        batch_size=workload.BATCH_ROWS, learning_rate=workload.LEARNING_RATE, schedule="linear", warmup_ratio=0.0,
        weight_decay=0.0, max_grad_norm=1.0, max_length=1024, seed=0, too_long="error", threads=options.threads,
        device=options.device,
    )  # fmt: skip
    resources = device.choose(run)
    resources.apply()
    units = tuple(
        Unit((RenderedRow(row.token_ids, [place >= row.prompt_tokens for place in range(len(row.token_ids))]),))
        for row in _rows(options)
    )
    model = prepare.trainable(workload.model(options.size), run, resources, units)
    longest = max(unit.tokens for unit in units)
    resources = memory.fitted(resources, memory.fit(model, longest, resources.device))
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(
            run=run, model=model, objective=objective.objective(run),
            train=RenderedSplit(units, tuple(range(1, len(units) + 1))), validation=None,
            log=EventLog(Path(folder) / "events.jsonl"), checkpoints=checkpoints.Checkpoints(Path(folder), 1),
            resources=resources, should_stop=lambda: False,
        )  # fmt: skip
        marks: list[tuple[float, float, int]] = []
        loop.should_stop = lambda: bool(marks.append((*_now(options.device), loop.progress.total_tokens)))
        with redirect_stdout(io.StringIO()):  # the events
            loop.go()
        marks.append((*_now(options.device), loop.progress.total_tokens))
        first = next(json.loads(line) for line in (Path(folder) / "events.jsonl").open() if '"train_loss"' in line)
    start, end = marks[WARM_UP_STEPS], marks[-1]
    return Speed(
        end[2] - start[2], end[0] - start[0], end[1] - start[1], first["value"], workload.peak_mib(options.device)
    )


def trl(options: argparse.Namespace) -> Speed:
    """Train with TRL's SFTTrainer as it comes."""
    return _trl(options, {"per_device_train_batch_size": workload.BATCH_ROWS})


def trl_packing(options: argparse.Namespace) -> Speed:
    """Train with TRL's SFTTrainer in the setting that was its fastest: packed rows of 1024 tokens, one per step."""
    return _trl(options, {"per_device_train_batch_size": 1, "packing": True, "gradient_checkpointing": False})


def hf(options: argparse.Namespace) -> Speed:
    """Train with transformers' Trainer, bfloat16, rows of similar length together."""
    from peft import get_peft_model
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    arguments = TrainingArguments(
        **_arguments(options),
        per_device_train_batch_size=workload.BATCH_ROWS,
        bf16=True,
        train_sampling_strategy="group_by_length",
    )
    model = get_peft_model(workload.model(options.size), _lora())
    tokenizer = _tokenizer(workload.SHAPES[options.size]["vocab_size"])
    collate = DataCollatorForSeq2Seq(tokenizer, padding=True)
    return _measure(
        options,
        lambda collator, callback: Trainer(
            model=model, args=arguments, train_dataset=_table(options), data_collator=collator, callbacks=[callback]
        ),
        collate,
    )


def _trl(options: argparse.Namespace, changes: dict[str, Any]) -> Speed:
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = workload.model(options.size), _tokenizer(workload.SHAPES[options.size]["vocab_size"])
    return _measure(
        options,
        lambda collator, callback: SFTTrainer(
            model=model,
            args=SFTConfig(**{**_arguments(options), **changes}),
            train_dataset=_table(options, mask=False),
            processing_class=tokenizer,
            peft_config=_lora(),
            callbacks=[callback],
        ),
        None,
    )


def _measure(options: argparse.Namespace, make: Callable[[Any, Any], Any], collator: Any) -> Speed:
    """Run a peer's trainer and count the tokens of its batches that are no padding."""
    from transformers import TrainerCallback

    marks: list[tuple[float, float]] = []
    losses: list[float] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            marks.append(_now(options.device))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            losses.extend([logs["loss"]] if logs and "loss" in logs else [])

    trainer = make(collator, Clock())
    collate = trainer.data_collator

    def counted(examples: Any) -> Any:
        batch = collate(examples)
        mask = batch.get("attention_mask")
        tokens.append(int(mask.sum()) if mask is not None else batch["input_ids"].numel())
        return batch

    trainer.data_collator = counted
    trainer.train()
    marks.append(_now(options.device))
    steps = len(marks) - 1
    start, end = marks[WARM_UP_STEPS], marks[-1]
    return Speed(
        sum(tokens[WARM_UP_STEPS:steps]), end[0] - start[0], end[1] - start[1], losses[0],
        workload.peak_mib(options.device),
    )  # fmt: skip


def _arguments(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "num_train_epochs": 1,
        "learning_rate": workload.LEARNING_RATE,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": options.device == "cpu",
    }


def _lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=workload.RANK, lora_alpha=workload.ALPHA, target_modules=workload.TARGETS, task_type="CAUSAL_LM"
    )


def _tokenizer(vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"w{number}": number for number in range(3, vocabulary)}}
    inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def _table(options: argparse.Namespace, *, mask: bool = True) -> Any:
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "input_ids": row.token_ids,
                "labels": [-100] * row.prompt_tokens + row.token_ids[row.prompt_tokens :],
                **({"attention_mask": [1] * len(row.token_ids)} if mask else {}),
            }
            for row in _rows(options)
        ]
    )


def _rows(options: argparse.Namespace) -> list[ChatRow]:
    vocabulary = workload.SHAPES[options.size]["vocab_size"]
    count = (options.steps + WARM_UP_STEPS) * workload.BATCH_ROWS
    return workload.rows(count, vocabulary, system_tokens=options.system_tokens)


def _now(device: str) -> tuple[float, float]:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


SIDES: dict[str, Callable[[argparse.Namespace], Speed]] = {
    "tunebridge": ours,
    "trl": trl,
    "trl-packing": trl_packing,
    "hf": hf,
}


def main() -> None:
    """Train one side once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("size", choices=workload.SHAPES)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--system-tokens", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("SPEED " + json.dumps(asdict(SIDES[options.side](options))))


if __name__ == "__main__":
    main()
