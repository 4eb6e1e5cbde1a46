"""`python -m tunebridge.training.generate`: a model answers a file of prompts.

Requests are lines `{"id", "messages"}`, answers lines `{"id", "output", "finish_reason", "tokens"}` in the same order.
Prompts are answered in batches of similar length; progress goes to stdout after the word TUNEBRIDGE.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunebridge.data.example import Message
from tunebridge.data.tokens import chat_messages
from tunebridge.training.events import PREFIX

BATCH_TOKENS = 16384
"""Prompt tokens, padding included, of one batch."""
BATCH_ROWS = 128


def main() -> int:
    """Answer every request and write the answers."""
    options = _options()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    source = sys.stdin if options.input == "-" else open(options.input, encoding="utf-8")  # noqa: SIM115
    requests = [json.loads(line) for line in source if line.strip()]
    answers: list[dict[str, Any] | None] = [None] * len(requests)
    for done, (number, answer) in enumerate(answer_all(requests, options), start=1):
        answers[number] = {"id": requests[number].get("id"), **answer}
        if done % BATCH_ROWS == 0 or done == len(requests):
            record = {"type": "progress", "done": done, "total": len(requests)}
            sys.stdout.write(f"{PREFIX}{json.dumps(record)}\n" if options.output != "-" else "")
            sys.stdout.flush()
    _write(options.output, answers)
    return 0


def answer_all(requests: Sequence[dict[str, Any]], options: argparse.Namespace) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number of the request, its answer) in the order in which batches are done."""
    if not requests:
        return
    import torch

    from tunebridge.training import device, models

    torch.set_num_threads(device.free_threads())
    tokenizer = models.load_tokenizer(options.base_model)
    model = models.load_tuned(options.base_model, options.adapter)
    prompts = [_prompt(request, tokenizer) for request in requests]
    torch.manual_seed(options.seed)
    for batch in batches([len(prompt) for prompt in prompts]):
        with torch.inference_mode():
            outputs = _generate(model, tokenizer, [prompts[number] for number in batch], options)
        for number, output in zip(batch, outputs, strict=True):
            yield number, _answer(output, tokenizer, model)


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of prompts that are answered together: similar lengths, longest first, within the limits."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        width = lengths[batch[0]] if batch else lengths[number]
        if batch and (len(batch) >= BATCH_ROWS or (len(batch) + 1) * width > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(number)
    yield batch


def _prompt(request: dict[str, Any], tokenizer: Any) -> list[int]:
    messages = chat_messages([Message.model_validate(message) for message in request["messages"]])
    if not tokenizer.chat_template:
        return list(tokenizer("\n".join(str(message["content"]) for message in messages))["input_ids"])
    out = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, add_generation_prompt=True)
    return list(out["input_ids"])


def _generate(model: Any, tokenizer: Any, prompts: Sequence[list[int]], options: argparse.Namespace) -> list[list[int]]:
    import torch

    width = max(len(prompt) for prompt in prompts)
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    sampling = {"do_sample": True, "temperature": options.temperature} if options.temperature else {"do_sample": False}
    written = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=options.max_tokens, pad_token_id=pad, **sampling
    )
    return [list(row) for row in written[:, width:].tolist()]


def _answer(tokens: list[int], tokenizer: Any, model: Any) -> dict[str, Any]:
    """Cut an answer at its end token and decode it."""
    ends = model.generation_config.eos_token_id
    ends = {ends} if isinstance(ends, int) else set(ends or ())
    ends.add(tokenizer.eos_token_id)
    place = next((place for place, token in enumerate(tokens) if token in ends), None)
    kept = tokens if place is None else tokens[:place]
    reason = "length" if place is None else "stop"
    output = tokenizer.decode(kept, skip_special_tokens=True)
    return {"output": output, "finish_reason": reason, "tokens": len(kept)}


def _write(output: str, answers: Sequence[dict[str, Any] | None]) -> None:
    lines = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    if output == "-":
        sys.stdout.write(lines)
        return
    path = Path(output)
    partial = path.with_name(path.name + ".partial")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(lines)
    partial.rename(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tunebridge.training.generate", description=__doc__)
    parser.add_argument("--base-model", required=True, help="tunebridge/nano, a model folder or a hub id")
    parser.add_argument("--adapter", type=Path, help="folder of a LoRA adapter")
    parser.add_argument("--input", required=True, help="file of requests, - for standard input")
    parser.add_argument("--output", required=True, help="file for the answers, - for standard output")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
