"""Measure what LoRA on top of a base learns: `python -m tools.nano.measure MODEL_FOLDER --task intent`."""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tunebridge.quickstart import FULL, SIX, Preset
from tunebridge.training import schedule

from . import downstream
from .batches import Batch, Sequence, pad
from .downstream import Row

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RECIPES = {
    "intent": Preset(epochs=10, learning_rate=1e-2),
    "extract": Preset(epochs=12, learning_rate=1e-2),
    "changelog": SIX,
    "changelog-all": FULL,
}
EVALUATE_ROWS = 128
WINDOW = 8


def main() -> None:
    """Fine-tune with every seed and print one line of JSON for each, then a summary."""
    options = _options()
    torch.set_num_threads(1)
    results = [_measure(options, seed) for seed in range(options.seeds)]
    shares = [result["accuracy"] for result in results]
    mean = statistics.mean(shares)
    # Seeds share the rows of a test part, while every fold has rows of its own.
    rows = sum(result["rows"][1] for result in results[: downstream.FOLDS if _has_folds(options) else 1])
    summary = {
        "task": options.task,
        "split": options.split,
        "seeds": options.seeds,
        "accuracy": round(mean, 4),
        "standard_error": round(math.sqrt(mean * (1 - mean) / rows), 4),
        "evaluated_rows": rows,
        "majority": round(statistics.mean(result["majority"] for result in results), 3),
        "before": round(statistics.mean(result["before"] for result in results), 3),
        "cpu_seconds": round(statistics.mean(result["cpu_seconds"] for result in results), 1),
    }
    print(json.dumps({"summary": summary}), flush=True)


def _has_folds(options: argparse.Namespace) -> bool:
    """Tell whether every seed is evaluated on other rows."""
    return options.task.startswith("changelog") and options.split == "validation"


def _measure(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Fine-tune and evaluate once."""
    torch.manual_seed(seed)
    train, held_out = downstream.load(options.task, options.split, seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    base = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="eager")
    before = accuracy(base, tokenizer, held_out)
    model = _adapted(base, options)
    spent = fine_tune(model, [encode(tokenizer, row) for row in train], options, seed)
    usual, _ = Counter(row.answer for row in train).most_common(1)[0]
    result = {
        "seed": seed,
        "rows": [len(train), len(held_out)],
        "majority": round(sum(row.answer == usual for row in held_out) / len(held_out), 4),
        "before": before,
        "accuracy": accuracy(model, tokenizer, held_out),
        "cpu_seconds": round(spent, 1),
    }
    print(json.dumps(result), flush=True)
    return result


def _adapted(base: PreTrainedModel, options: argparse.Namespace) -> torch.nn.Module:
    """Put a LoRA adapter on every linear layer, or leave the model as it is for full fine-tuning."""
    if options.full:
        return base
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=LINEARS,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, config)


def encode(tokenizer: Any, row: Row) -> Sequence:
    """Write a row with the chat template and mark the answer, its end mark included, as what counts."""
    messages = [{"role": "user", "content": row.prompt}, {"role": "assistant", "content": row.answer}]
    written = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return Sequence(written["input_ids"], [float(mark) for mark in written["assistant_masks"]])


def fine_tune(model: torch.nn.Module, rows: list[Sequence], options: argparse.Namespace, seed: int) -> float:
    """Train for whole epochs with the schedules of tunebridge's trainer; return the CPU seconds spent."""
    started = time.process_time()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=options.lr, weight_decay=options.weight_decay, fused=True)
    draw = random.Random(seed)
    plan = [batch for _ in range(options.epochs) for batch in _epoch(rows, options.batch, draw)]
    warmup = math.ceil(len(plan) * options.warmup)
    model.train()
    for step, batch in enumerate(plan):
        rate = schedule.factor(step, total_steps=len(plan), warmup_steps=warmup, schedule=options.schedule)
        for group in optimizer.param_groups:
            group["lr"] = options.lr * rate
        _loss(model, batch).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - started


def _epoch(rows: list[Sequence], size: int, draw: random.Random) -> list[Batch]:
    """Shuffle the rows into batches of similar length, so that little is padded."""
    order = draw.sample(rows, len(rows))
    groups = []
    for start in range(0, len(order), size * WINDOW):
        window = sorted(order[start : start + size * WINDOW], key=lambda row: len(row.ids))
        groups += [window[at : at + size] for at in range(0, len(window), size)]
    draw.shuffle(groups)
    return [pad(group) for group in groups]


def _loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Return the mean cross-entropy of the answers, with logits only where an answer stands."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    counted = batch.weights[:, 1:] > 0
    with torch.autocast("cpu", torch.bfloat16):
        hidden = inner.model(input_ids=batch.ids[:, :-1], use_cache=False)[0]
        logits = inner.lm_head(hidden[counted])
    return functional.cross_entropy(logits.float(), batch.ids[:, 1:][counted])


@torch.no_grad()
def accuracy(model: torch.nn.Module, tokenizer: Any, rows: list[Row]) -> float:
    """Return the share of rows whose greedily generated answer is exactly right."""
    model.eval()
    longest = max(len(tokenizer(row.answer).input_ids) for row in rows) + 2
    ordered = sorted(rows, key=lambda row: len(row.prompt))
    right = 0
    for start in range(0, len(ordered), EVALUATE_ROWS):
        right += _right(model, tokenizer, ordered[start : start + EVALUATE_ROWS], longest)
    return round(right / len(rows), 4)


def _right(model: torch.nn.Module, tokenizer: Any, rows: list[Row], longest: int) -> int:
    """Count the right answers of one batch."""
    chats = [[{"role": "user", "content": row.prompt}] for row in rows]
    prompts = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
    )
    written = model.generate(**prompts, max_new_tokens=longest, do_sample=False)
    answers = tokenizer.batch_decode(written[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
    return sum(answer.strip() == row.answer for answer, row in zip(answers, rows, strict=True))


def _options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the base model")
    parser.add_argument("--task", choices=list(RECIPES), required=True)
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=32.0)
    parser.add_argument("--lr", type=float, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, help="passes over the training rows")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--schedule", choices=["linear", "cosine", "constant"], default="linear")
    parser.add_argument("--warmup", type=float, default=0.05, help="share of the steps")
    parser.add_argument("--full", action="store_true", help="full fine-tuning instead of LoRA")
    options = parser.parse_args()
    options.epochs = options.epochs or RECIPES[options.task].epochs
    options.lr = options.lr or RECIPES[options.task].learning_rate
    return options


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
