"""Chat templates and rows for comparing masks; the templates are those that TRL ships, filled by nano's tokenizer."""

from pathlib import Path
from typing import Any, NamedTuple

import trl

from tunebridge.data.example import Example
from tunebridge.training.tokenizer import load_tokenizer

TEMPLATES = Path(trl.__file__).parent / "chat_templates"


class Format(NamedTuple):
    """A chat format: its template and the special tokens that it needs."""

    template: str | None
    """File of TRL's; None is nano's own."""
    end: str
    special: tuple[str, ...] = ()
    bos: str | None = None
    with_system: bool = True
    with_tools: bool = False

    def tokenizer(self) -> Any:
        """Return nano's tokenizer in this format."""
        tokenizer = load_tokenizer("tunebridge/nano")
        tokens = [token for token in (*self.special, self.bos) if token]
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", *tokens]})
        tokenizer.bos_token, tokenizer.eos_token = self.bos, self.end
        if self.template:
            tokenizer.chat_template = (TEMPLATES / f"{self.template}.jinja").read_text(encoding="utf-8")
        return tokenizer


LLAMA = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
GEMMA = ("<start_of_turn>", "<end_of_turn>")
PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
MARKED = {
    "nano": Format(None, "<|im_end|>"),
    "llama3": Format("llama3_training", "<|eot_id|>", LLAMA, "<|begin_of_text|>"),
    "qwen2.5": Format("qwen2_5_training", "<|im_end|>", with_tools=True),
    "qwen3": Format("qwen3_training", "<|im_end|>", ("<think>", "</think>"), with_tools=True),
    "gemma": Format("gemma_training", "<end_of_turn>", GEMMA, "<bos>", with_system=False),
    "gemma3": Format("gemma3_training", "<end_of_turn>", GEMMA, "<bos>"),
    "phi3": Format("phi3_training", "<|end|>", PHI),
}
UNMARKED = {
    "llama3": Format("llama3", "<|eot_id|>", LLAMA, "<|begin_of_text|>"),
    "qwen2.5": Format("qwen2_5", "<|im_end|>"),
    "gemma": Format("gemma", "<end_of_turn>", GEMMA, "<bos>", with_system=False),
    "phi3": Format("phi3", "<|end|>", PHI),
}

ONE = [{"role": "user", "content": "What is the colour of ball 3?"}, {"role": "assistant", "content": "red"}]
MORE = [
    {"role": "user", "content": "Übersetze „hello“ 🙂\n\nund  behalte\ttabs."},
    {"role": "assistant", "content": "hallo 👩‍👩‍👧\n\n```python\nprint('x')\n```"},
    {"role": "user", "content": "日本語で?"},
    {"role": "assistant", "content": "こんにちは"},
]
SYSTEM = [{"role": "system", "content": "Be short."}, *MORE]
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
CALLS = [
    {"role": "user", "content": "Look."},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "blue", "tool_call_id": "1"},
    {"role": "assistant", "content": "It is blue."},
]


def chats(format_: Format) -> list[Example]:
    """Return the conversations that a format can take."""
    rows: list[dict[str, Any]] = [{"messages": ONE}, {"messages": MORE}]
    rows += [{"messages": SYSTEM}] if format_.with_system else []
    rows += [{"messages": CALLS, "tools": TOOLS}] if format_.with_tools else []
    return [Example.model_validate(row) for row in rows]


def completions() -> list[Example]:
    """Return rows whose last answer alone is trained."""
    silent = [{**turn, "weight": 0} if turn["role"] == "assistant" else turn for turn in MORE[:3]]
    return [Example.model_validate({"messages": turns}) for turns in (ONE, [*silent, MORE[3]])]


TEXTS = [Example(text="Ball 1 is red."), Example(text="日本語 🙂\n")]
