"""What must stay true of the code itself."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCES = sorted([*(ROOT / "tunebridge").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
LIBRARIES = {"tunebridge_aws"}
"""Packages beside the plugins that several of them share; no plugins themselves."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


HEAVY = ("torch", "transformers", "peft", "openai", "boto3", "psutil")
HEAVY += ("google.genai", "google.cloud.storage", "google.cloud.aiplatform_v1", "huggingface_hub", "gradientai", "ray")


@pytest.mark.parametrize("command", ["import tunebridge", "import tunebridge.client", "import tunebridge.cli.app"])
def test_imports_are_light(command: str) -> None:
    code = f"import sys; {command}; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_help_does_not_need_pydantic() -> None:
    loaded = f"print(*[m for m in {('pydantic', *HEAVY)} if m in sys.modules])"
    code = f"import sys; from tunebridge.cli import run; run(['--help']); {loaded}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_modules_and_functions_stay_small() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                # The options of a command stand in its signature, one to a line; they are no logic.
                assert (node.end_lineno or 0) - node.body[0].lineno < 60, f"{path}:{node.lineno}"


def test_the_doors_are_kept() -> None:
    pytest.importorskip("importlinter")
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_no_file_names_this_machine() -> None:
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("not a git checkout")
    paths = [
        ROOT / name for name in found.stdout.split("\0") if name.endswith((".py", ".md", ".toml", ".yaml", ".json"))
    ]
    machine = re.compile(r"(?<![\w.])/(work|root|home/[a-z]+)/[a-z]")
    named = [str(path) for path in paths if path.exists() and machine.search(path.read_text(errors="replace"))]
    assert named == []


def test_the_lists_of_plugins_agree() -> None:
    found = {path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").exists()}
    folders = found - LIBRARIES
    assert set(PROJECT["project"]["entry-points"]["tunebridge"].values()) == folders
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {path.removeprefix("plugins/") for path in packages} == {"tunebridge", *found}
    for folder in folders:
        assert (ROOT / "plugins" / folder / "__init__.py").read_text().count("\n") <= 65
    extras = PROJECT["project"]["optional-dependencies"]
    assert {folder.removeprefix("tunebridge_") for folder in folders} <= extras.keys()
    assert len(PROJECT["project"]["dependencies"]) <= 8
