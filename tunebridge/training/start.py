"""`python -m tunebridge.training.start RUN WORK [--results FOLDER]`: what a rented machine is told to do.

It stands in a bundle: it installs what the image lacks, takes the run folder to where work outlives an interruption,
trains, and puts the results where the vendor collects them. Only the standard library, since nothing else may be there.
"""

import argparse
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from tunebridge.training.process import hear_stop, share_the_cores

REQUIREMENTS_FILE = "requirements.txt"
RESULTS = ("adapter", "model", "result.json", "events.jsonl")


def main() -> int:
    """Install, train, collect; return the trainer's exit code, 2 where the machine cannot run it."""
    if sys.version_info < (3, 11):  # noqa: UP036 (the image is somebody else's)
        sys.stderr.write(f"Python {sys.version.split()[0]} is too old: choose an image with 3.11 or newer\n")
        return 2
    options = _options()
    was_told_to_stop = hear_stop()
    share_the_cores()
    install_missing(Path(__file__).parents[2] / REQUIREMENTS_FILE)
    take_over(options.run, options.work)
    from tunebridge.training.run import run

    code = run(options.work.absolute(), was_told_to_stop)
    if options.results:
        collect(options.work, options.results)
    return code


def install_missing(requirements: Path) -> None:
    """Install what the list asks for where something of it is missing or too old; the network is used only then."""
    if not all(_is_met(line) for line in requirements.read_text().splitlines()):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True)


def take_over(run: Path, work: Path) -> None:
    """Copy the run folder into the working folder; what is there already stays, so that an interrupted run goes on."""
    work.mkdir(parents=True, exist_ok=True)
    for path in run.iterdir():
        if not (work / path.name).exists():
            partial = work / f"{path.name}.partial"
            shutil.copyfile(path, partial)
            partial.rename(work / path.name)


def collect(work: Path, results: Path) -> None:
    """Copy what the trainer left into the folder that the vendor collects."""
    results.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:
        if (work / name).is_dir():
            shutil.copytree(work / name, results / name, dirs_exist_ok=True)
        elif (work / name).exists():
            shutil.copyfile(work / name, results / name)


def _is_met(requirement: str) -> bool:
    try:
        from packaging.requirements import Requirement

        wanted = Requirement(requirement)
        return wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
    except (ImportError, metadata.PackageNotFoundError):
        return False


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tunebridge.training.start")
    parser.add_argument("run", type=Path, help="the run folder that was uploaded")
    parser.add_argument("work", type=Path, help="where to train; an interrupted run in it goes on")
    parser.add_argument("--results", type=Path, help="where to put the results, if elsewhere")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
