"""The measured tasks: two generated ones and the real one, CPython's changelog by area."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass

from tunebridge import quickstart
from tunebridge.quickstart import Entry

TRAIN_COUNT, TEST_COUNT = 500, 200
TRAIN_SEED, TEST_SEED, VALIDATION_SEED = 1, 2, 3
FOLDS = 4

_INTENTS = {
    "cancel_order": (
        "cancel my order",
        "i do not want order {n} any more",
        "please stop order {n} before it ships",
        "call off the purchase i made",
        "undo my order {n}",
    ),
    "track_order": (
        "where is my order",
        "has parcel {n} left the warehouse",
        "when will package {n} arrive",
        "track shipment {n}",
        "any news on my delivery {n}",
    ),
    "refund": (
        "i want my money back",
        "refund order {n}",
        "please return the payment for {n}",
        "can i get reimbursed for {n}",
        "give me back the {n} euros",
    ),
    "change_address": (
        "i moved to another street",
        "update my shipping address",
        "send order {n} to a different address",
        "change where {n} is delivered",
        "my house number is wrong on {n}",
    ),
    "reset_password": (
        "i forgot my password",
        "cannot log in to my account",
        "reset my login",
        "locked out of account {n}",
        "the password for {n} does not work",
    ),
    "delete_account": (
        "erase my account",
        "remove all my data",
        "close account {n} for good",
        "i want to delete my profile",
        "drop me from your system",
    ),
    "invoice": (
        "send me the invoice",
        "i need a bill for {n}",
        "where can i download the receipt of {n}",
        "missing tax invoice {n}",
        "copy of the bill for {n}",
    ),
    "complaint": (
        "your service is awful",
        "i am very unhappy with {n}",
        "the product {n} is broken",
        "this is the worst shop ever",
        "item {n} arrived damaged",
    ),
    "opening_hours": (
        "when do you open",
        "are you open on sunday",
        "what are your opening times",
        "how late is the shop open",
        "is the store closed on holidays",
    ),
    "human_agent": (
        "let me talk to a person",
        "i want a human",
        "connect me to an agent",
        "get me a real person please",
        "speak to someone from support",
    ),
    "payment_issue": (
        "my card was declined",
        "the payment for {n} failed",
        "i was charged twice for {n}",
        "double charge on {n}",
        "checkout refuses my credit card",
    ),
    "newsletter": (
        "stop sending me emails",
        "unsubscribe me",
        "no more newsletters",
        "sign me up for the newsletter",
        "change my email preferences",
    ),
}
_OPENINGS = (
    "", "hi, ", "hello, ", "hey there, ", "please help: ", "good morning, ", "urgent! ", "excuse me, ",
    "ok so ", "um, ", "dear team, ", "sorry to bother you, ",
)  # fmt: skip
_ENDINGS = (
    "", "", " please", " thanks", " asap", " today", " as soon as possible", " if possible", " right now",
    " thank you very much", "!", "?",
)  # fmt: skip
_FIRST_NAMES = [
    "anna",
    "ben",
    "carla",
    "david",
    "eva",
    "frank",
    "greta",
    "hugo",
    "ines",
    "jonas",
    "karin",
    "liam",
    "mona",
    "nils",
    "olga",
    "paul",
    "rita",
    "sven",
    "tara",
    "uwe",
    "vera",
    "walter",
    "xenia",
    "yusuf",
    "zoe",
]
_LAST_NAMES = [
    "becker",
    "fischer",
    "garcia",
    "haas",
    "ito",
    "jensen",
    "klein",
    "lopez",
    "meyer",
    "novak",
    "olsen",
    "park",
    "quinn",
    "rossi",
    "silva",
    "tanaka",
    "ullman",
    "vogel",
    "weber",
    "young",
]
_CITIES = [
    "berlin",
    "madrid",
    "oslo",
    "paris",
    "rome",
    "vienna",
    "lisbon",
    "dublin",
    "prague",
    "athens",
    "warsaw",
    "zurich",
    "hamburg",
    "milan",
    "porto",
    "turin",
]
_PRODUCTS = [
    "laptop",
    "phone",
    "camera",
    "tablet",
    "printer",
    "monitor",
    "keyboard",
    "headset",
    "router",
    "speaker",
    "charger",
    "mouse",
]
_TICKETS = (
    "hi, i am {name} from {city} and my {product} with serial {serial} is broken.",
    "{name} ({city}) writes: the {product} no {serial} does not start.",
    "please replace {product} {serial}. regards, {name}, {city}",
    "customer {name}, living in {city}, reports a faulty {product}, serial number {serial}.",
    "my {product} stopped working, it is {serial}. name: {name}. city: {city}",
)


@dataclass(frozen=True)
class Row:
    """One prompt and the answer that counts as right."""

    prompt: str
    answer: str


def intent(count: int, seed: int) -> list[Row]:
    """Make messages to a shop and the one of twelve labels that each deserves."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        label = draw.choice(list(_INTENTS))
        text = draw.choice(_INTENTS[label]).replace("{n}", str(draw.randrange(1000, 99999)))
        rows.append(Row(draw.choice(_OPENINGS) + text + draw.choice(_ENDINGS), label))
    return rows


def extract(count: int, seed: int) -> list[Row]:
    """Make support messages and the JSON of what they name; hardly any value set occurs twice."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        name = f"{draw.choice(_FIRST_NAMES)} {draw.choice(_LAST_NAMES)}"
        values = {"name": name, "city": draw.choice(_CITIES), "product": draw.choice(_PRODUCTS)}
        values["serial"] = str(draw.randrange(1000, 9999))
        rows.append(Row(draw.choice(_TICKETS).format(**values), json.dumps(values)))
    return rows


def changelog(*, full: bool, split: str, seed: int) -> tuple[list[Row], list[Row]]:
    """Return the quickstart's training and test rows, or all its other rows with one fold of them held out."""
    parts = quickstart.split(quickstart.load_entries(full=full))
    if split == "test":
        return _rows(parts["train"]), _rows(parts["test"])
    known = _rows([*parts["train"], *parts["validation"]])
    fold = seed % FOLDS
    return [row for row in known if _fold(row) != fold], [row for row in known if _fold(row) == fold]


def load(task: str, split: str, seed: int) -> tuple[list[Row], list[Row]]:
    """Return training rows and held-out rows of a task; only the changelog's folds depend on the seed."""
    if task in ("changelog", "changelog-all"):
        return changelog(full=task == "changelog-all", split=split, seed=seed)
    make = {"intent": intent, "extract": extract}[task]
    return make(TRAIN_COUNT, TRAIN_SEED), make(TEST_COUNT, TEST_SEED if split == "test" else VALIDATION_SEED)


def _rows(entries: Iterable[Entry]) -> list[Row]:
    """Ask with an entry's text for its area."""
    return [Row(entry.text, entry.area) for entry in entries]


def _fold(row: Row) -> int:
    """Assign a row to a fold by a hash of its text that is not the quickstart's own."""
    return int(hashlib.sha256(f"fold {row.prompt}".encode()).hexdigest(), 16) % FOLDS
