"""Check and convert rows with Ray Data: `python convert.py ROWS.jsonl OUTPUT_FOLDER`.

The engine's pure function `convert_batch` runs in Ray's workers, on one machine or on many. What only shows among
rows, such as duplicates, is found from the digests that it returns.
"""

import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import ray

from tunebridge.data.engine.batch import Recipe, convert_batch
from tunebridge.data.reading.readers import READERS, named
from tunebridge.data.targets import Target


def convert(lines: dict[str, list[str]], recipe: Recipe) -> dict[str, list[str]]:
    """Convert one of Ray's batches: a row comes out for each good row, and one for each that is wrong."""
    batch = convert_batch([line.encode() for line in lines["text"]], recipe)
    good, wrong = batch.train, batch.rejected
    sent = ["\n".join(row.decode() for row in rows) for rows in good.converted] or [row.decode() for row in good.rows]
    return {
        "row": [*sent, *(row.row.decode(errors="replace") for row in wrong)],
        "digest": [*(digests[8:16].hex() for digests in batch.digests), *("" for _ in wrong)],
        "code": [*("" for _ in sent), *(row.codes[0] for row in wrong)],
    }


def run(source: str, folder: Path, *, shape: str = "chat", target: Target | None = None) -> dict[str, object]:
    """Convert a file, or all files of a folder or bucket, and return what was found."""
    recipe = Recipe(named(shape, READERS), target=target)
    rows = ray.data.read_text(source).map_batches(partial(convert, recipe=recipe), batch_size=1000).materialize()
    good, wrong = rows.filter(expr="code == ''"), rows.filter(expr="code != ''")
    good.select_columns(["row"]).write_parquet(str(folder))
    seen = good.groupby("digest").count().filter(lambda group: group["count()"] > 1)
    codes = Counter(row["code"] for row in wrong.iter_rows())
    return {
        "rows": good.count(),
        "wrong": dict(codes),
        "twice": sum(group["count()"] - 1 for group in seen.iter_rows()),
    }


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], Path(sys.argv[2]))))
