"""What Azure does with one command job, as a process of its own: `python -m tunebridge_azureml.machine FOLDER`.

`job.json` in the folder says what was asked for. The machine copies code and inputs, starts the command with its
placeholders filled in, lets it write to the container as if that were mounted, and writes each state to `state.json`.
On SIGTERM it passes the signal on and ends as `Canceled`.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from tunebridge.job import now
from tunebridge.training.config import NANO, RUN_FILE
from tunebridge.training.events import PREFIX
from tunebridge.training.sources import packaged_nano

JOB_FILE, STATE_FILE = "job.json", "state.json"
KEPT = ("HOME", "LANG", "OMP_NUM_THREADS", "HF_HOME", "TMPDIR")
"""Variables of this machine that a job sees; anything else, keys above all, it does not."""
STAND_IN = "a rehearsal fetches nothing: the shipped model stands in for {}"


class Machine:
    """One job on one machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._job: dict[str, Any] = json.loads((folder / JOB_FILE).read_text())
        self._state: dict[str, Any] = {"started": time.time()}
        self._process: subprocess.Popen[bytes] | None = None
        self._is_canceled = False

    def run(self) -> None:
        """Bring the job to its end."""
        signal.signal(signal.SIGTERM, self._cancel)
        self._say("Preparing")
        places = self._fetch()
        code = self._work(self._filled(places))
        self._say("Finalizing")
        for name in ("code", "inputs"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        self._state.update(ended=time.time(), code=code)
        self._say("Canceled" if self._is_canceled else "Completed" if code == 0 else "Failed")

    def _fetch(self) -> dict[str, str]:
        """Copy code and inputs, make the outputs' folders, and return each placeholder's value."""
        shutil.copytree(self._job["code"], self._folder / "code", dirs_exist_ok=True)
        places = {}
        for name, place in self._job["inputs"].items():
            target = self._folder / "inputs" / name
            shutil.copytree(place, target, dirs_exist_ok=True)
            places[f"inputs.{name}"] = str(target)
        for name, place in self._job["outputs"].items():
            Path(place).mkdir(mode=0o700, parents=True, exist_ok=True)
            places[f"outputs.{name}"] = place
        return places

    def _filled(self, places: dict[str, str]) -> str:
        command = str(self._job["command"])
        for name, place in places.items():
            command = command.replace("${{" + name + "}}", shlex.quote(place))
        return command

    def _work(self, command: str) -> int:
        log = Path(self._job["log"])
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as file:
            for name in self._stand_in():
                event = {"type": "event", "id": "stand-in", "at": now().isoformat(), "kind": "warning"}
                file.write(f"{PREFIX}{json.dumps({**event, 'message': STAND_IN.format(name)})}\n".encode())
                file.flush()
            if self._is_canceled:
                return 1
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                cwd=self._folder / "code",
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
            self._say("Running")
            return self._process.wait()

    def _stand_in(self) -> list[str]:
        """Put the shipped model in place of one that would be fetched from a hub, and return the names of those."""
        replaced = []
        for path in self._folder.glob(f"inputs/*/{RUN_FILE}"):
            run = json.loads(path.read_text())
            if "/" in run["base_model"] and run["base_model"] != NANO:
                replaced.append(run["base_model"])
                limit = json.loads((packaged_nano() / "config.json").read_text())["max_position_embeddings"]
                run.update(base_model=NANO, max_length=min(run["max_length"], limit))
                path.write_text(json.dumps(run))
                shutil.copytree(packaged_nano(), self._folder / "code" / "tunebridge" / "models" / "nano")
        return replaced

    def _environment(self) -> dict[str, str]:
        mine = {name: os.environ[name] for name in KEPT if name in os.environ}
        path = f"{self._python()}:{os.environ.get('PATH', '')}"
        return {**mine, "PATH": path, "HF_HUB_OFFLINE": "1", "AZUREML_RUN_ID": self._job["name"], **self._job["env"]}

    def _python(self) -> Path:
        """Return a folder in which `python` is this very one."""
        folder = self._folder / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / "python"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        script.chmod(0o700)
        return folder

    def _cancel(self, number: int, frame: FrameType | None) -> None:
        self._is_canceled = True
        if self._process is not None:
            self._process.send_signal(number)

    def _say(self, word: str) -> None:
        self._state["word"] = word
        partial = self._folder / f"{STATE_FILE}.partial"
        partial.write_text(json.dumps(self._state))
        partial.rename(self._folder / STATE_FILE)


if __name__ == "__main__":
    os.umask(0o077)
    Machine(Path(sys.argv[1])).run()
