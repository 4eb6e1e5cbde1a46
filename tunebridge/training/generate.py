"""`python -m tunebridge.training.generate`: a model answers a file of prompts.

Requests are lines `{"id", "messages"}`, answers lines `{"id", "output", "finish_reason", "tokens"}` in the same order.
Prompts are answered in batches of similar length; progress goes to stdout after the word TUNEBRIDGE.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from tunebridge.data.example import Message
from tunebridge.data.rendering.render import chat_messages, end_tokens
from tunebridge.errors import DataError, TuneBridgeError
from tunebridge.training.events import PREFIX
from tunebridge.training.process import share_the_cores

BATCH_TOKENS = 16384
"""Prompt tokens, padding included, of one batch."""
BATCH_ROWS = 128


def main() -> int:
    """Answer every request and write the answers; 2 when the user can mend what is wrong."""
    options = _options()
    try:
        requests = _read(options.input)
        if options.output == "-":
            _answer_into(sys.stdout, requests, options, lambda done: None)
        else:
            _answer_to_file(Path(options.output), requests, options)
    except TuneBridgeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


class Loaded(NamedTuple):
    """A model in memory that answers."""

    model: Any
    tokenizer: Any


def load(base_model: str, adapter: Path | None) -> Loaded:
    """Load a base model, with an adapter merged into it where there is one."""
    import torch

    from tunebridge.training import device, models

    torch.set_num_threads(device.free_threads())
    return Loaded(models.load_tuned(base_model, adapter), models.load_tokenizer(base_model))


def answer_all(
    loaded: Loaded, requests: Sequence[dict[str, Any]], *, max_tokens: int, temperature: float, seed: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number of the request, its answer) in the order in which batches are done."""
    import torch

    model, tokenizer = loaded
    ends = _set_generation(model, tokenizer, temperature)
    prompts = [_prompt(number, request, tokenizer) for number, request in enumerate(requests, start=1)]
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    _check_lengths(prompts, limit)
    torch.manual_seed(seed)
    for batch in batches([len(prompt) for prompt in prompts]):
        room = min(max_tokens, limit - len(prompts[batch[0]]))
        with torch.inference_mode():
            outputs = continued(model, tokenizer.pad_token_id, [prompts[number] for number in batch], room)
        for number, output in zip(batch, outputs, strict=True):
            yield number, _answer(output, tokenizer, ends)


def answer_request(loaded: Loaded, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Answer what `tunebridge.training.answer.request_body` asks of an endpoint, in the order of its inputs."""
    answers = dict(answer_all(loaded, asked["inputs"], **asked["parameters"]))
    return {"answers": [answers[number] for number in range(len(answers))]}


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


def _answer_to_file(path: Path, requests: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write under another name as the answers come; a file of the right name is complete."""
    partial = path.with_name(path.name + ".partial")

    def say(done: int) -> None:
        record = {"type": "progress", "done": done, "total": len(requests)}
        sys.stdout.write(f"{PREFIX}{json.dumps(record)}\n")
        sys.stdout.flush()

    with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        _answer_into(file, requests, options, say)
    partial.rename(path)


def _answer_into(
    file: IO[str], requests: Sequence[dict[str, Any]], options: argparse.Namespace, say: Callable[[int], None]
) -> None:
    """Write each answer as soon as all before it are there."""
    waiting: dict[int, dict[str, Any]] = {}
    written = 0
    for done, (number, answer) in enumerate(_answers(requests, options), start=1):
        waiting[number] = {"id": requests[number].get("id"), **answer}
        while written in waiting:
            file.write(json.dumps(waiting.pop(written), ensure_ascii=False) + "\n")
            written += 1
        if done % BATCH_ROWS == 0 or done == len(requests):
            file.flush()
            say(done)


def _answers(requests: Sequence[dict[str, Any]], options: argparse.Namespace) -> Iterator[tuple[int, dict[str, Any]]]:
    if requests:
        knobs = {"max_tokens": options.max_tokens, "temperature": options.temperature, "seed": options.seed}
        yield from answer_all(load(options.base_model, options.adapter), requests, **knobs)


def _read(name: str) -> list[dict[str, Any]]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"the requests cannot be read: {error}") from error
    requests = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            requests += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise DataError(f"this line is no JSON: {error}", file=name, line=number) from error
    return requests


def _prompt(number: int, request: dict[str, Any], tokenizer: Any) -> list[int]:
    try:
        messages = chat_messages([Message.model_validate(message) for message in request["messages"]])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"request {number} has no valid `messages`: {error}") from error
    if not tokenizer.chat_template:
        return list(tokenizer("\n".join(str(message["content"]) for message in messages))["input_ids"])
    out = tokenizer.apply_chat_template(
        messages, tools=request.get("tools"), tokenize=True, return_dict=True, add_generation_prompt=True
    )
    return list(out["input_ids"])


def _check_lengths(prompts: Sequence[Sequence[int]], limit: int) -> None:
    for number, prompt in enumerate(prompts, start=1):
        if len(prompt) >= limit:
            raise DataError(
                f"request {number} has {len(prompt)} tokens, and the model takes at most {limit} with its answer. "
                f"Shorten it, or choose a model with a longer context."
            )


def _set_generation(model: Any, tokenizer: Any, temperature: float) -> frozenset[int]:
    """Replace the model's own sampling settings, and return the tokens at which an answer ends."""
    from transformers import GenerationConfig

    own = model.generation_config.eos_token_id
    ends = end_tokens(tokenizer) | ({own} if isinstance(own, int) else set(own or ()))
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        pad_token_id=tokenizer.pad_token_id, eos_token_id=sorted(ends) or None, **sampling
    )
    return frozenset(ends)


def continued(model: Any, pad: int, prompts: Sequence[list[int]], max_tokens: int) -> list[list[int]]:
    """Return what the model writes behind each prompt, by one call of transformers' `generate` for all of them."""
    import torch

    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    written = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=max_tokens)
    return [list(row) for row in written[:, width:].tolist()]


def _answer(tokens: list[int], tokenizer: Any, ends: frozenset[int]) -> dict[str, Any]:
    """Cut an answer at its end token and decode it."""
    place = next((place for place, token in enumerate(tokens) if token in ends), None)
    kept = tokens if place is None else tokens[:place]
    reason = "length" if place is None else "stop"
    output = tokenizer.decode(kept, skip_special_tokens=True)
    return {"output": output, "finish_reason": reason, "tokens": len(kept)}


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
    share_the_cores()
    sys.exit(main())
