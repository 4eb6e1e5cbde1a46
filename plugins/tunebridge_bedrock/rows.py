"""Canonical rows -> Bedrock's rows: Converse for Nova, prompt and completion, Claude 3 Haiku, prompts, texts."""

from functools import partial

from tunebridge.data.shapes import chat
from tunebridge.data.shapes.carries import Carries
from tunebridge.data.shapes.content import text_of
from tunebridge.data.shapes.converse import converse
from tunebridge.data.shapes.limits import load_limits
from tunebridge.data.shapes.notes import Notes, Rows, Shape
from tunebridge.data.shapes.order import require_alternation, require_last
from tunebridge.data.shapes.prompts import prompt_text, unroll
from tunebridge.data.shapes.turns import carried_keys, carried_turns
from tunebridge.data.targets import CanonicalRow, Target

NOVA = Carries(
    reasoning=None,
    images=frozenset({"s3"}),
    image_types=frozenset({"image/png", "image/jpeg", "image/gif"}),
    parts=None,
)
PROMPT = Carries(weight_zero=None)
CLAUDE = Carries()
PROMPTS = Carries()
TEXT = Carries()
GRADED = Carries(keys=frozenset({"reference", "metadata", "id", "split"}))


def prompt_completion(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"prompt": ..., "completion": ...}`, one row per trained answer."""
    carried_keys(row, PROMPT, notes)
    turns = carried_turns(row["messages"], PROMPT, notes)
    return tuple(
        {"prompt": prompt_text(context, notes), "completion": text_of(answer["content"])}
        for context, answer in unroll(turns, notes)
    )


def claude(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"system": ..., "messages": [...]}` in strict alternation, with no further key."""
    carried_keys(row, CLAUDE, notes)
    turns = carried_turns(row["messages"], CLAUDE, notes)
    require_alternation(turns, notes)
    require_last(turns, ("assistant",), notes)
    if turns[0]["role"] == "system":
        return ({"system": turns[0]["content"], "messages": turns[1:]},)
    return ({"messages": turns},)


def rft(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"messages": [...], "reference_answer": ...}` that ends with the user; a grader sees the further keys."""
    (built,) = chat.prompt(row, notes, GRADED)
    return ({"reference_answer" if key == "reference" else key: value for key, value in built.items()},)


def pretraining(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"input": ...}` for continued pre-training."""
    (built,) = chat.text(row, notes, TEXT)
    return ({"input": built["text"]},)


SHAPES = {
    "converse": Shape("sft", partial(converse, carries=NOVA)),
    "prompt_completion": Shape("sft", prompt_completion),
    "claude": Shape("sft", claude),
    "rft": Shape("prompt_only", rft),
    "distillation": Shape("prompt_only", partial(converse, carries=PROMPTS, last="user")),
    "pretraining": Shape("text", pretraining),
}


def targets() -> list[Target]:
    """Return Bedrock's targets; a customization job takes one file."""
    limits = load_limits(__package__)
    return [
        Target("bedrock", name, shape.kinds, shape.convert, limits[name], may_split=False)
        for name, shape in SHAPES.items()
    ]
