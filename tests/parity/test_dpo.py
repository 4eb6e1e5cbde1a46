"""Preference optimisation: step by step the losses and rewards of TRL's DPOTrainer, and at the end its weights."""

from pathlib import Path
from typing import Any

import pytest

from tests.parity.test_sft import JOB, NO_DROPOUT, assert_parity
from tests.training.runs import FULL, make_run

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("trl", reason="TRL is the peer; `make test-parity` installs it")

NAMES = {
    "train_loss": "loss",
    "reward_accuracy": "rewards/accuracies",
    "reward_margin": "rewards/margins",
    "reward_preferred": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
}


@pytest.mark.parametrize(
    "changes",
    [{"adapter": NO_DROPOUT, "base_model": "tunebridge/nano"}, {"adapter": FULL, "beta": 0.3, "learning_rate": 2e-4}],
    ids=["adapter-off", "reference-beforehand"],
)
def test_losses_rewards_and_weights_are_those_of_trl(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", **{**JOB, "method": "dpo", **changes})
    assert_parity(folder, tmp_path / "peer", NAMES)
