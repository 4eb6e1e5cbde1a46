"""What Amazon does with one endpoint, as a process: `python -P hosting.py ARCHIVE FOLDER`.

Unpacks the archive, loads the model by its `code/inference.py` as the inference container does, then answers each
line of its input with a line. It ends with its input, and so with the emulator that started it.
"""

import importlib.util
import json
import sys
import tarfile
import traceback
from pathlib import Path


def main() -> None:
    """Answer until the input ends."""
    archive, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    sys.path.insert(0, str(folder / "code"))  # the archive's own tunebridge, not the one installed here
    specification = importlib.util.spec_from_file_location("inference", folder / "code" / "inference.py")
    assert specification
    assert specification.loader
    inference = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(inference)
    answers, sys.stdout = sys.stdout, sys.stderr  # what the model's code prints is no answer
    model = inference.model_fn(str(folder))
    for line in sys.stdin:
        try:
            said = {"ok": inference.predict_fn(json.loads(line), model)}
        except Exception as error:
            traceback.print_exc()
            said = {"error": str(error)}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
