"""Judged answers: step by step the losses, divergence and rewards of TRL's KTOTrainer, and at the end its weights."""

from pathlib import Path
from typing import Any

import pytest

from tests.parity.test_sft import JOB, NO_DROPOUT, assert_parity
from tests.training.runs import make_run

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("trl", reason="TRL is the peer; `make test-parity` installs it")

NAMES = {
    "train_loss": "loss",
    "kl": "kl",
    "reward_desirable": "rewards/chosen",
    "reward_undesirable": "rewards/rejected",
}


@pytest.mark.parametrize(
    "changes",
    [{"base_model": "tunebridge/nano"}, {"beta": 0.5, "learning_rate": 1e-2, "batch_size": 5, "max_steps": 3}],
    ids=["nano", "uneven-batches"],
)
def test_losses_rewards_and_weights_are_those_of_trl(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", **{**JOB, "method": "kto", "adapter": NO_DROPOUT, "batch_size": 6, **changes})
    assert_parity(folder, tmp_path / "peer", NAMES)
