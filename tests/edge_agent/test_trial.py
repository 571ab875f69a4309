"""The self-test's process: golden samples pass or fail there, and a crash ends nothing else."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from edge_agent.update import trial as trial_process
from edge_agent.update.trial import TrialResult, run_trial
from fleet_contract import archive
from fleet_contract.board import Board
from fleet_contract.names import Precision
from hil.story.crash import crashing_models
from tests.support.tiny_bundle import TinySpec, red_mean_model, tiny_bundle


def board(memory: str = "900MB") -> Board:
    return Board.model_validate(
        {"hardware": "x86-64-box", "runtime": "onnx", "precision": "fp32", "threads": 1,
         "memory_limit": memory}
    )  # fmt: skip


def trial(folder: Path, spec: TinySpec, *, time_limit_s: float = 30, **limits: str) -> TrialResult:
    digest, data = tiny_bundle(spec)
    archive.unpack(data, folder / digest)
    return run(folder / digest, board(**limits), time_limit_s)


def greedy_model(megabytes: int) -> bytes:
    """The good model, which also fills `megabytes` with a constant of its input's size."""
    model = onnx.load_from_string(red_mean_model(10.0, 0.0))
    side = 1000 * megabytes // 4
    value = helper.make_tensor("one", onnx.TensorProto.FLOAT, [1], [1.0])
    shape = helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [1000, side])
    model.graph.initializer.append(shape)
    model.graph.node.extend([
        helper.make_node("ConstantOfShape", ["shape"], ["filled"], value=value),
        helper.make_node("ReduceMax", ["filled"], ["most"], keepdims=0),
        helper.make_node("Mul", ["mask", "most"], ["mask_of_all"]),
    ])  # fmt: skip
    model.graph.node[3].input[0] = "mask_of_all"
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:3], *nodes[4:], nodes[3]])
    return bytes(model.SerializeToString())


def run(folder: Path, board: Board, time_limit_s: float = 30) -> TrialResult:
    result = run_trial(folder, board, time_limit_s=time_limit_s, max_latency_s=5.0)
    assert result is not None
    return result


def test_a_good_bundle_passes_and_is_measured(tmp_path: Path) -> None:
    result = trial(tmp_path, TinySpec())
    assert result.failure == "", result.reason
    assert result.numbers["latency_ms"] > 0
    assert result.numbers["peak_rss_bytes"] > 10**7


def test_what_the_agent_itself_holds_is_not_counted_as_the_models(tmp_path: Path) -> None:
    held = b"x" * 400_000_000
    result = trial(tmp_path, TinySpec(), memory="300MB")
    assert result.failure == "", result.reason
    assert result.numbers["peak_rss_bytes"] < len(held)


def test_golden_samples_that_differ_fail_the_self_test(tmp_path: Path) -> None:
    result = trial(tmp_path, TinySpec(golden_shift=0.2))
    assert result.failure == "self_test"
    assert "golden samples differ" in result.reason


def test_a_model_that_crashes_its_runtime_ends_only_the_child(tmp_path: Path) -> None:
    result = trial(tmp_path, TinySpec(model=crashing_models()["onnx"]))
    assert result.failure == "crash"
    assert "SIGFPE" in result.reason


def test_a_model_that_is_no_model_fails_the_self_test(tmp_path: Path) -> None:
    result = trial(tmp_path, TinySpec(model=b"not a model"))
    assert result.failure == "self_test"
    assert "does not load" in result.reason


def test_a_self_test_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Looked at sooner than any machine runs it.
    monkeypatch.setattr(trial_process, "_POLL_S", 0.01)
    result = trial(tmp_path, TinySpec(), time_limit_s=0.05)
    assert result.failure == "crash"
    assert "did not end" in result.reason


def test_a_board_with_too_little_memory_refuses_the_bundle(tmp_path: Path) -> None:
    result = trial(tmp_path, TinySpec(), memory="64MB")
    assert result.failure == "footprint"
    assert "at most 64 MB are allowed" in result.reason
    assert result.numbers["peak_rss_bytes"] > result.numbers["memory_limit_bytes"] == 64e6


def test_a_model_that_eats_memory_is_ended_with_what_it_had(tmp_path: Path) -> None:
    result = trial(tmp_path, TinySpec(model=greedy_model(400)), memory="300MB")
    assert result.failure == "footprint"
    assert result.numbers["peak_rss_bytes"] > 300e6


def test_a_model_that_is_too_slow_for_the_line_is_refused_with_both_numbers(tmp_path: Path) -> None:
    digest, data = tiny_bundle(TinySpec())
    archive.unpack(data, tmp_path / digest)
    result = run_trial(tmp_path / digest, board(), time_limit_s=30, max_latency_s=1e-6)
    assert result is not None
    assert result.failure == "footprint"
    assert "ms a part, at most 0.001 ms are allowed" in result.reason
    assert result.numbers["latency_ms"] > result.numbers["max_latency_ms"] == 0.001


def test_a_file_that_was_changed_after_unpacking_is_refused(tmp_path: Path) -> None:
    digest, data = tiny_bundle(TinySpec())
    archive.unpack(data, tmp_path / digest)
    (tmp_path / digest / "evaluation.json").write_bytes(b"[]")
    result = run(tmp_path / digest, board())
    assert result.failure == "bundle"


def test_a_bundle_without_the_boards_model_is_refused(tmp_path: Path) -> None:
    digest, data = tiny_bundle(TinySpec())
    archive.unpack(data, tmp_path / digest)
    other = board().model_copy(update={"precision": Precision.INT8})
    result = run(tmp_path / digest, other)
    assert result.failure == "bundle"
    assert "onnx/int8" in result.reason


def test_a_self_test_that_nobody_wants_any_more_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_process, "_POLL_S", 0.01)
    digest, data = tiny_bundle(TinySpec())
    archive.unpack(data, tmp_path / digest)
    result = run_trial(
        tmp_path / digest, board(), time_limit_s=30, max_latency_s=5.0, cancelled=lambda: True
    )
    assert result is None
