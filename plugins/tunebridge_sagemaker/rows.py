"""Canonical rows -> SageMaker's rows: serverless customization, Nova, graded prompts, JumpStart's templates."""

from dataclasses import replace
from functools import partial

from tunebridge.data.shapes import chat
from tunebridge.data.shapes.carries import Carries
from tunebridge.data.shapes.content import text_of
from tunebridge.data.shapes.converse import converse, converse_preference
from tunebridge.data.shapes.limits import load_limits
from tunebridge.data.shapes.notes import Notes, Rows, Shape
from tunebridge.data.shapes.order import require_last
from tunebridge.data.shapes.prompts import prompt_text, unroll
from tunebridge.data.shapes.turns import carried_answers, carried_keys, carried_turns
from tunebridge.data.targets import CanonicalRow, Target

SERVERLESS = Carries(empty_turn=None)
NOVA = Carries(
    keys=frozenset({"tools"}),
    tools=None,
    arguments="object",
    reasoning=None,
    images=frozenset({"s3"}),
    image_types=frozenset({"image/png", "image/jpeg", "image/gif"}),
    parts=None,
)
NOVA_PREFERENCE = replace(NOVA, keys=frozenset(), tools="X-tools", reasoning="L-reasoning")
GRADED = Carries(keys=frozenset({"reference", "metadata", "id"}))
JUMPSTART = Carries(keys=frozenset({"id", "metadata", "reference", "split"}), weight_zero=None)


def serverless_dpo(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"chosen": [...], "rejected": [...]}`: two conversations that differ in their last turn."""
    carried_keys(row, SERVERLESS, notes)
    turns = carried_turns(row["messages"], SERVERLESS, notes, trained=False)
    require_last(turns, ("user",), notes)
    preferred, rejected = carried_answers(row, SERVERLESS, notes)
    return ({"chosen": [*turns, *preferred], "rejected": [*turns, *rejected]},)


def serverless_rl(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"prompt": [...], "reward_model": {"style": "rule", "ground_truth": ...}}` (VERL) that ends with the user.

    The reference is what a reward function compares with; metadata goes to `extra_info`.
    """
    (built,) = chat.prompt(row, notes, GRADED)
    kept = {"id": built["id"]} if "id" in built else {}
    if "reference" in built:
        kept["reward_model"] = {"style": "rule", "ground_truth": built["reference"]}
    if "metadata" in built:
        kept["extra_info"] = built["metadata"]
    return ({"prompt": built["messages"], **kept},)


def nova_rl(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"messages": [...], "reference_answer": ...}` that ends with the user; a reward function sees both."""
    (built,) = chat.prompt(row, notes, GRADED)
    return ({"reference_answer" if key == "reference" else key: value for key, value in built.items()},)


def jumpstart(row: CanonicalRow, notes: Notes) -> Rows:
    """Build `{"prompt": ..., "completion": ...}` for `jumpstart_template()`, one row per trained answer.

    Further columns are allowed: the template names those that are trained on.
    """
    kept = carried_keys(row, JUMPSTART, notes)
    turns = carried_turns(row["messages"], JUMPSTART, notes)
    return tuple(
        {"prompt": prompt_text(context, notes), "completion": text_of(answer["content"]), **kept}
        for context, answer in unroll(turns, notes)
    )


def jumpstart_template() -> dict[str, str]:
    """Return the `template.json` that lies beside the rows of `jumpstart`."""
    return {"prompt": "{prompt}", "completion": "{completion}"}


SHAPES: dict[str, Shape] = {
    "serverless_sft": Shape("sft", partial(chat.chat, carries=SERVERLESS)),
    "serverless_dpo": Shape("preference", serverless_dpo),
    "nova_sft": Shape("sft", partial(converse, carries=NOVA)),
    "nova_dpo": Shape("preference", partial(converse_preference, carries=NOVA_PREFERENCE)),
    "serverless_rl": Shape("prompt_only", serverless_rl),
    "nova_rl": Shape("prompt_only", nova_rl),
    "jumpstart": Shape("sft", jumpstart),
}


def targets() -> list[Target]:
    """Return SageMaker's targets; only JumpStart reads every file of a folder."""
    limits = load_limits(__package__)
    return [
        Target("sagemaker", name, shape.kinds, shape.convert, limits[name], may_split=name == "jumpstart")
        for name, shape in SHAPES.items()
    ]
