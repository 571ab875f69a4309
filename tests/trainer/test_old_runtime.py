"""What today's converter writes passes a device's self-test on an old image."""

import pytest

from edge_agent.update.trial import run_trial
from fleet_contract.board import Board
from fleet_contract.names import Precision
from tests.support.old_image import old_python
from tests.trainer.conftest import World


@pytest.mark.parametrize("precision", Precision)
def test_a_bundle_passes_its_self_test_with_tflite_runtime(
    world: World, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(hardware="x86-64-box", runtime="litert", precision=precision, threads=1,
                  memory_limit="600MB")  # fmt: skip
    monkeypatch.setattr("edge_agent.update.trial.sys.executable", str(old_python()))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    result = run_trial(world.folder, board, time_limit_s=60, max_latency_s=5)
    assert result is not None
    assert result.failure == "", result.reason
    assert result.numbers["latency_ms"] > 0
