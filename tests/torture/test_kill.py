"""A short version of `python -m tests.torture.kill`."""

from pathlib import Path

import pytest

from tests.torture.kill import Setting, Victim, run_trial, undisturbed

pytestmark = pytest.mark.torch
SETTING = Setting(base_model="random", steps=12, checkpoint_seconds=0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """Digest of the undisturbed weights, and how long that run took."""
    folder: Path = tmp_path_factory.mktemp("undisturbed")
    return undisturbed(folder, SETTING)


@pytest.mark.parametrize(("victim", "share"), [("cli", 0.15), ("cli", 0.6), ("trainer", 0.5), ("trainer", 0.8)])
def test_a_killed_process_leaves_a_true_state_and_the_same_weights(
    victim: Victim, share: float, expected: tuple[str, float]
) -> None:
    digest, duration = expected
    trial = run_trial(victim, share * duration, SETTING, digest)
    assert trial.problem is None, trial
    assert trial.jobs == 1
