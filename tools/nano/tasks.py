"""Generate the chat examples that tunebridge/nano is pre-trained on, all from one random generator.

Two habits matter for a base that adapters are to be trained on: copying what the prompt says (repeat,
extract, form, lookup, tools) and telling what a real text is about (page, heading, field, gap, choose).
The templates, fields and labels of the measured downstream tasks do not occur in either.
"""

from __future__ import annotations

import json
import random
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from .corpus import Corpus, Gloss, Passage

# Answers of the measured tasks, kept out of the mix so that the measurements show transfer, not memory.
HELD_OUT = frozenset(
    ("tests", "build", "c api", "documentation", "idle", "windows")
    + ("library", "core and builtins", "tools/demos", "security", "macos")
    + ("name", "city", "product", "serial")
)

FORM_COUNT = 60
FORM_SEED = 20


@dataclass(frozen=True)
class Example:
    """One question and its answer; `learn_prompt` also trains the model on the question's text."""

    prompt: str
    answer: str
    learn_prompt: bool = False


@dataclass(frozen=True)
class Form:
    """A made-up kind of message: sentences with slots, and the keys of its JSON answer."""

    keys: tuple[str, ...]
    kinds: tuple[int, ...]
    templates: tuple[str, ...]


class TaskMaker:
    """Draw examples of every kind from a corpus with one seeded random generator."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        """Index the corpus once; the same seed gives the same sequence of examples."""
        self._random = random.Random(seed)
        self._words = [word for word in corpus.words if word not in HELD_OUT]
        self._glosses = [gloss for gloss in corpus.glosses if len(gloss.text) < 160]
        self._essays = corpus.essays
        self._pages, self._page_names, self._page_weights = _by_page(corpus.passages)
        self._forms = _make_forms(self._words)
        self.kinds: dict[str, Callable[[], Example]] = {
            "repeat": self._repeat,
            "extract": self._extract,
            "form": self._form,
            "lookup": self._lookup,
            "tool": self._tool,
            "gloss": self._gloss,
            "field": self._field,
            "page": self._page,
            "heading": self._heading,
            "choose": self._choose,
            "gap": self._gap,
            "prose": self._prose,
        }

    def draw(self, kind: str) -> Example:
        """Draw one example of a kind."""
        return self.kinds[kind]()

    # ---- copying

    def _repeat(self) -> Example:
        """Ask for a text to be copied."""
        draw = self._random
        count = draw.randrange(1, 9)
        text = self._several(count) if draw.random() < 0.7 else " ".join(self._value() for _ in range(count))
        return Example(draw.choice(("Repeat: ", "Say: ", "Copy this text: ", "Echo ")) + text, text)

    def _extract(self) -> Example:
        """Ask for the values of random keys, one plainly or several as JSON."""
        draw = self._random
        keys = draw.sample(self._words, draw.randrange(2, 6))
        values = {key: self._value() for key in keys}
        text = self._statements(values)
        picked = draw.sample(keys, draw.randrange(1, len(keys) + 1))
        if len(picked) == 1 and draw.random() < 0.5:
            question = draw.choice(("What is the ", "Give the ", ""))
            return Example(f"{text}\n{question}{picked[0]}?", values[picked[0]])
        request = draw.choice(("Extract {} as JSON: ", "JSON with {}. ")).format(", ".join(picked))
        return Example(request + text, json.dumps({key: values[key] for key in picked}))

    def _statements(self, values: dict[str, str]) -> str:
        """Write keys and values as clauses, mostly all of one shape."""
        draw = self._random
        shapes = ("the {k} is {v}", "{k}: {v}", "{v} is the {k}", "{k} {v}", "{k} = {v}", "with {k} {v}")
        usual = draw.choice(shapes)
        clauses = []
        for key, value in values.items():
            shape = usual if draw.random() < 0.7 else draw.choice(shapes)
            filler = draw.choice(("", "", "and ", "also ", "well, ", "then ", "so "))
            clauses.append(filler + shape.format(k=key, v=value))
        return draw.choice((". ", ", ", "; ", "\n")).join(clauses)

    def _form(self) -> Example:
        """Ask for the JSON of a made-up form whose keys the text does not name."""
        form = self._random.choice(self._forms)
        values = [self._typed(kind) for kind in form.kinds]
        text = self._random.choice(form.templates).format(*values)
        return Example(text, json.dumps(dict(zip(form.keys, values, strict=True))))

    def _lookup(self) -> Example:
        """Ask for the label that a list in the prompt gives to a word hidden in a text."""
        draw = self._random
        count = draw.randrange(2, 6)
        keys = draw.sample(self._words, count)
        labels = draw.sample(self._words, count)
        target = draw.randrange(count)
        text = " ".join((*self._some(4), keys[target], *self._some(4)))
        rules = "\n".join(f"{key} -> {label}" for key, label in zip(keys, labels, strict=True))
        return Example(f"{rules}\nText: {text}\nLabel?", labels[target])

    def _tool(self) -> Example:
        """Ask for a small operation on a list of words."""
        words = self._several(self._random.randrange(2, 7)).split()
        answers = {
            "first": words[0],
            "last": words[-1],
            "count": str(len(words)),
            "sort": " ".join(sorted(words)),
            "upper": " ".join(words).upper(),
            "reverse": " ".join(reversed(words)),
        }
        name = self._random.choice(list(answers))
        return Example(f"{name}: {' '.join(words)}", answers[name])

    # ---- knowing what a text is about

    def _gloss(self) -> Example:
        """Ask for a word's definition or for the word of a definition."""
        draw = self._random
        gloss = draw.choice(self._glosses)
        word, text = gloss.words[0], gloss.text.split(";")[0].strip()
        if draw.random() < 0.5:
            return Example(draw.choice(("Define: {}", "What is {}?")).format(word), text)
        return Example(draw.choice(("Which word means: {}", "Use one word for: {}")).format(text), word)

    def _field(self) -> Example:
        """Ask for the WordNet field of a word, its definition or both."""
        draw = self._random
        gloss = draw.choice(self._glosses)
        shown = draw.choice((gloss.words[0], gloss.text, f"{gloss.words[0]}: {gloss.text}"))
        return Example(draw.choice(("Field? ", "", "Kind: ")) + shown, gloss.field, learn_prompt=True)

    def _page(self) -> Example:
        """Ask on which page of Python's documentation a text stands."""
        passage = self._passage()
        question = self._random.choice(("", "", "Which page? ", "Page: "))
        return self._about(question + self._cut(passage.text), passage.page)

    def _heading(self) -> Example:
        """Ask for the heading above a text."""
        passage = self._passage()
        return self._about(self._random.choice(("Heading? ", "About? ")) + self._cut(passage.text), passage.heading)

    def _about(self, prompt: str, answer: str) -> Example:
        """Make an example of a text and its subject, or only of the text when the answer is held out."""
        return Example(prompt, "-" if answer.lower() in HELD_OUT else answer, learn_prompt=True)

    def _choose(self) -> Example:
        """Ask which of a few listed pages or fields a text belongs to."""
        draw = self._random
        if draw.random() < 0.7:
            passage = self._passage()
            text, answer = self._cut(passage.text), passage.page
            others = [draw.choice(self._page_names) for _ in range(draw.randrange(1, 5))]
        else:
            gloss = draw.choice(self._glosses)
            text, answer = gloss.text, gloss.field
            others = [draw.choice(self._glosses).field for _ in range(draw.randrange(1, 5))]
        # Not a set: its order would change with every start of Python.
        options = list(dict.fromkeys((answer, *others)))
        draw.shuffle(options)
        return Example(f"{', '.join(options)}?\n{text}", answer)

    def _gap(self) -> Example:
        """Ask for the word that was taken out of a text."""
        text = self._cut(self._passage().text)
        words = text.split()
        index = self._random.randrange(len(words))
        answer, words[index] = words[index], "___"
        return Example(" ".join(words), answer)

    def _prose(self) -> Example:
        """Ask to continue a text, which is how running prose enters the mix."""
        draw = self._random
        text = (draw.choice(self._essays) if draw.random() < 0.3 else self._passage().text)[:400]
        words = text.split()
        cut = draw.randrange(1, max(2, len(words) // 2))
        return Example(" ".join(words[:cut]), " ".join(words[cut:]) or "-", learn_prompt=True)

    # ---- parts

    def _passage(self) -> Passage:
        """Draw a paragraph; pages weigh with the square root of their length, so that small ones count."""
        draw = self._random
        page = self._page_names[bisect(self._page_weights, draw.random() * self._page_weights[-1])]
        return draw.choice(self._pages[page])

    def _cut(self, text: str) -> str:
        """Keep a few sentences of a text, as short as an entry in a list of changes."""
        limit = self._random.choice((60, 100, 140, 200, 280))
        start = self._random.choice((0, 0, text.find(". ") + 1))
        piece = text[start : start + limit].strip() or text[:limit]
        return piece.rsplit(" ", 1)[0] if len(piece) == limit and " " in piece else piece

    def _several(self, count: int) -> str:
        """Join some random words."""
        return " ".join(self._random.choice(self._words) for _ in range(count))

    def _some(self, below: int) -> list[str]:
        """Draw fewer than `below` random words."""
        return [self._random.choice(self._words) for _ in range(self._random.randrange(below))]

    def _value(self) -> str:
        """Draw a value of any kind."""
        return self._typed(self._random.randrange(6))

    def _typed(self, kind: int) -> str:
        """Draw a word, a number, two words, a number in a word, a capitalised word or a code."""
        draw = self._random
        word = draw.choice(self._words)
        digits = str(draw.randrange(10, 100000))
        other = draw.choice(self._words)
        code = f"{word[:2].upper()}-{digits}"
        return (word, digits, f"{word} {other}", f"{word}{digits[0]}", word.capitalize(), code)[kind]


def _by_page(passages: list[Passage]) -> tuple[dict[str, list[Passage]], list[str], list[float]]:
    """Group paragraphs by page and return cumulative drawing weights of the pages."""
    pages: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        pages[passage.page].append(passage)
    names = sorted(pages)
    return pages, names, list(accumulate(len(pages[name]) ** 0.5 for name in names))


def _make_forms(words: list[str]) -> list[Form]:
    """Invent the forms; they are the same for every seed of a run, as knowledge is."""
    draw = random.Random(FORM_SEED)
    return [_make_form(draw, words) for _ in range(FORM_COUNT)]


def _make_form(draw: random.Random, words: list[str]) -> Form:
    """Invent one form: two to five slots, each announced by its own words, in four wordings."""
    count = draw.randrange(2, 6)
    keys = tuple(draw.sample(words, count))
    kinds = tuple(draw.randrange(6) for _ in range(count))
    return Form(keys, kinds, tuple(_make_template(draw, words, count) for _ in range(4)))


def _make_template(draw: random.Random, words: list[str], count: int) -> str:
    """Write one wording: every slot once, in any order, between one to three words."""
    parts = []
    for slot in draw.sample(range(count), count):
        parts += [" ".join(draw.sample(words, draw.randrange(1, 4))), f"{{{slot}}}"]
    return draw.choice((" ", ", ")).join(parts) + draw.choice((".", "", " " + draw.choice(words)))


def gloss_line(gloss: Gloss) -> str:
    """Write a synset as one line of a dictionary, for training the tokenizer."""
    return f"{', '.join(gloss.words)}: {gloss.text}"
