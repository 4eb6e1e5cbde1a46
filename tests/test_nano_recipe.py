"""The pre-training data of tunebridge/nano: a seed repeats, whatever order Python keeps its sets in."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DRAW = """
import hashlib
from tools.nano.corpus import Corpus, Gloss, Passage
from tools.nano.tasks import TaskMaker

words = [chr(97 + a) + chr(97 + b) + "en" for a in range(20) for b in range(20)]
passages = [Passage(f"page/{n % 12}", f"Heading {n % 30}", f"{w} does this. So does {n}.") for n, w in enumerate(words)]
glosses = [Gloss((w,), ("act", "food", "time")[n % 3], f"what {w} means; more") for n, w in enumerate(words)]
maker = TaskMaker(Corpus(glosses, passages, ["An essay about nothing."], words), seed=1)
drawn = [maker.draw(kind) for _ in range(40) for kind in maker.kinds]
print(hashlib.sha256(repr(drawn).encode()).hexdigest())
"""


def test_a_seed_draws_the_same_examples_in_every_process() -> None:
    digests = {_drawn_with(hash_seed) for hash_seed in ("0", "1", "2")}
    assert len(digests) == 1


def _drawn_with(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", DRAW], env=environment, check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
