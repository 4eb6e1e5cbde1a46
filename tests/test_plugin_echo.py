"""The example plugin is built, installed and used as a third party's would be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import write_job

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin, installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(folder), str(ROOT / "examples/plugin_echo")], check=True)
    return folder


def tunebridge(*arguments: str, site: Path, home: Path) -> str:
    """Run the command line with the plugin on the path."""
    environment = {**os.environ, "PYTHONPATH": str(site), "TUNEBRIDGE_HOME": str(home)}
    command = [sys.executable, "-m", "tunebridge", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_plugin_is_found_used_and_conforms(installed: Path, tmp_path: Path) -> None:
    job, home = write_job(tmp_path), tmp_path / "home"
    assert "Repeats the question" in tunebridge("backends", "--json", site=installed, home=home)
    done = json.loads(tunebridge("submit", str(job), "-b", "echo", "--wait", "--json", site=installed, home=home))
    assert {"id", "status", "backend", "metrics", "artifacts"} <= done.keys()
    assert done["status"] == "succeeded"
    assert tunebridge("generate", "last", "polly", site=installed, home=home).strip() == "polly"
    report = json.loads(tunebridge("check-plugin", "echo", "--json", site=installed, home=home))
    assert report["passed"]


def test_it_is_small() -> None:
    assert len((ROOT / "examples/plugin_echo/tunebridge_echo.py").read_text().splitlines()) < 80
