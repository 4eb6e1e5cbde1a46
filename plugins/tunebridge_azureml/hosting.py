"""What Azure does with one deployment, as a process: `python -P hosting.py CODE MODEL`.

Loads the uploaded script as the inference server does, then answers each line of its input with a line. It ends with
its input, and so with the emulator that started it.
"""

import importlib
import json
import os
import sys
import traceback


def main() -> None:
    """Answer until the input ends."""
    code, os.environ["AZUREML_MODEL_DIR"] = sys.argv[1:]
    sys.path.insert(0, code)  # the uploaded tunebridge, not the one installed here
    answers, sys.stdout = sys.stdout, sys.stderr  # what the script prints is no answer
    script = importlib.import_module("score")
    script.init()
    for line in sys.stdin:
        try:
            said = {"ok": script.run(line)}
        except Exception as error:
            traceback.print_exc()
            said = {"error": str(error)}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
