"""Train the byte-level BPE tokenizer of tunebridge/nano and write it with its chat template."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from .corpus import Corpus
from .tasks import TaskMaker, gloss_line

VOCABULARY = 2048
PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, START, END)
PAD_ID, START_ID, END_ID = range(3)
CONTEXT = 1024

_SAMPLE_SEED = 7
_GLOSSES, _TASKS_PER_KIND = 12_000, 1_000

# The end mark of an answer is inside the generation block: an adapter has to learn when to stop.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{%- generation %}"
    "{{- message['content'] or '' }}"
    "{%- for call in message['tool_calls'] or [] %}"
    "{{- '<tool_call>' + ((call['function'] or call) | tojson) + '</tool_call>' }}"
    "{%- endfor %}"
    "{{- '<|im_end|>' }}"
    "{%- endgeneration %}"
    "{%- else %}"
    "{{- message['content'] + '<|im_end|>' }}"
    "{%- endif %}"
    "{{- '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def train(corpus: Corpus) -> Tokenizer:
    """Train the tokenizer; numbers are split into single digits so that any number can be copied."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(corpus), trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer's files so that transformers loads them without any code of ours."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE + "\n", encoding="utf-8")
    settings = json.dumps(_settings(), indent=2)
    (folder / "tokenizer_config.json").write_text(settings + "\n", encoding="utf-8")


def _settings() -> dict[str, object]:
    """Return the tokenizer's settings; there is no bos token, so none can be added by accident."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "pad_token": PAD,
        "eos_token": END,
        "additional_special_tokens": [START],
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def _texts(corpus: Corpus) -> Iterator[str]:
    """Yield the text that the vocabulary is fitted to: documentation, prose, glosses and tasks."""
    draw = random.Random(_SAMPLE_SEED)
    yield from (passage.text for passage in corpus.passages)
    yield from corpus.essays
    yield from (gloss_line(gloss) for gloss in draw.sample(corpus.glosses, _GLOSSES))
    maker = TaskMaker(corpus, _SAMPLE_SEED)
    for kind in maker.kinds:
        for _ in range(_TASKS_PER_KIND):
            example = maker.draw(kind)
            yield f"{example.prompt}\n{example.answer}"
