"""`python -m tests.parity.mask_peer OUT`: the tokens and labels that TRL's SFTTrainer makes of the rows of mask_cases.

A process of its own, because accelerate sets environment variables.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset as Table
from trl import SFTConfig, SFTTrainer

from tests.parity.mask_cases import MARKED, TEXTS, UNMARKED, Format, chats, completions
from tunebridge.data.example import Example
from tunebridge.data.rendering.render import chat_messages
from tunebridge.training import models


def main() -> None:
    out = Path(sys.argv[1])
    model = models.load_base("random")

    def rows(format_: Format, table: list[dict[str, Any]], *, assistant_only: bool) -> list[dict[str, Any]]:
        arguments = SFTConfig(
            output_dir=str(out.parent / "peer"),
            assistant_only_loss=assistant_only,
            max_length=None,
            report_to="none",
            use_cpu=True,
            bf16=False,
        )
        trainer = SFTTrainer(
            model, args=arguments, train_dataset=Table.from_list(table), processing_class=format_.tokenizer()
        )
        return [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in trainer.train_dataset]

    found = {}
    for name, format_ in MARKED.items():
        asked = [_prompt_completion(example) for example in completions()]
        found[f"{name} chats"] = rows(format_, [_messages(example) for example in chats(format_)], assistant_only=True)
        found[f"{name} completions"] = rows(format_, asked, assistant_only=False)
        found[f"{name} completions, answers only"] = rows(format_, asked, assistant_only=True)
    for name, format_ in UNMARKED.items():
        table = [_messages(example) for example in chats(format_)]
        found[f"{name} unmarked"] = rows(format_, table, assistant_only=True)
    texts = [{"text": example.text} for example in TEXTS]
    found["texts"] = rows(MARKED["nano"], texts, assistant_only=False)
    out.write_text(json.dumps(found))


def _messages(example: Example) -> dict[str, Any]:
    tools = json.dumps(example.tools) if example.tools else None
    return {"messages": _turns(example.messages or ()), "tools": tools}


def _prompt_completion(example: Example) -> dict[str, Any]:
    turns = _turns(example.messages or ())
    return {"prompt": turns[:-1], "completion": turns[-1:]}


def _turns(messages: Sequence[Any]) -> list[dict[str, Any]]:
    return chat_messages(messages)


if __name__ == "__main__":
    main()
