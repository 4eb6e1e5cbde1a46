"""`python -m tunebridge.training RUN_FOLDER`: train, or go on from the last checkpoint.

`torchrun --nproc-per-node N -m tunebridge.training RUN_FOLDER` trains with several processes, on any number of machines
that share the folder.

Signal handlers, lock and the first event stand before torch is imported, so that a stop at any moment is heard.
"""

import os
import sys
from pathlib import Path

from tunebridge.training.process import hear_stop, share_the_cores

KEPT_PRODUCTS = "128"
"""oneDNN prepares a matrix product for each new size and keeps 1,024 of them, half a megabyte each; the lengths of a
step hardly ever recur, so a few more than one step needs are enough."""
USAGE = "usage: python -m tunebridge.training RUN_FOLDER"


def main() -> int:
    """Run the trainer and return its exit code: 0 done or stopped, 1 failed, 2 the user can mend it."""
    was_told_to_stop = hear_stop()
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.stderr.write(f"{USAGE}\n")
        return 2
    share_the_cores()
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KEPT_PRODUCTS)
    from tunebridge.training.run import run

    return run(Path(sys.argv[1]).absolute(), was_told_to_stop)


if __name__ == "__main__":
    sys.exit(main())
