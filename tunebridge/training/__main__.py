"""`python -m tunebridge.training RUN_FOLDER`: train, or go on from the last checkpoint.

Signal handlers, lock and the first event stand before torch is imported, so that a stop at any moment is heard.
"""

import os
import sys
from pathlib import Path

USAGE = "usage: python -m tunebridge.training RUN_FOLDER"


def main() -> int:
    """Run the trainer and return its exit code: 0 done or stopped, 1 failed, 2 the user can mend it."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.stderr.write(f"{USAGE}\n")
        return 2
    # Waiting OpenMP threads should sleep, not spin: somebody else may need the core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tunebridge.training.run import run

    return run(Path(sys.argv[1]).absolute())


if __name__ == "__main__":
    sys.exit(main())
