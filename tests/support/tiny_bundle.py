"""Small valid bundles made by hand, without training: the score is the mean red of the picture."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fleet_contract import archive
from fleet_contract.inference.accumulate import WindowAccumulator
from fleet_contract.inference.features import frame_statistics
from fleet_contract.inference.model import BundleModel
from fleet_contract.inference.preprocess import Frame, decode_image, encode_png
from fleet_contract.manifest import (
    Decision,
    FileEntry,
    GoldenSample,
    InputSchema,
    Lineage,
    Manifest,
    ModelFile,
    Preprocess,
    Reference,
)
from fleet_contract.names import Precision, Runtime, Verdict

SIDE = 32


@dataclass(frozen=True)
class TinySpec:
    """What differs between two tiny bundles."""

    line: str = "watch-case"
    name: str = "one"
    """Stands in the manifest, so that two bundles differ."""
    gain: float = 10.0
    bias: float = 0.0
    """score = sigmoid(gain x (mean red / 255 - 0.5) + bias)."""
    epoch: int = 1
    golden_shift: float = 0.0
    """Added to the golden scores, so that the self-test fails."""
    reference_mean: float | None = None
    """Mean of the reference's scores; the default is that of a mid-grey picture."""
    model: bytes | None = None
    """Instead of the good model."""
    decision: Decision | None = None
    """The default: by the score alone, with a threshold of one half."""


def solid(red: int, green: int = 90, blue: int = 90, side: int = SIDE) -> Frame:
    """A picture of one colour with a little texture, [side, side, 3]."""
    noise = np.random.default_rng(red).integers(-4, 5, (side, side, 3))
    return np.clip(np.array([red, green, blue]) + noise, 0, 255).astype(np.uint8)


def red_mean_model(gain: float, bias: float) -> bytes:
    """ONNX: float32 [1, 3, SIDE, SIDE] in 0..255 -> score (one logit), mask (a map of logits)."""
    weights = {
        "red": np.array([1.0, 0, 0], np.float32).reshape(1, 3, 1, 1),
        "gain": np.array([gain / 255], np.float32),
        "offset": np.array([bias - gain / 2], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "red"], ["only_red"], kernel_shape=[1, 1]),
        helper.make_node("Mul", ["only_red", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["mask"]),
        helper.make_node("GlobalAveragePool", ["mask"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "red_mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, 1, 1, 1]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, SIDE, SIDE]),
        ],
        [_tensor(name, value) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return model


def _tensor(name: str, value: NDArray[np.float32]) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.flatten().tolist())


def tiny_bundle(spec: TinySpec | None = None) -> tuple[str, bytes]:
    """(digest, archive)."""
    spec = spec or TinySpec()
    good = red_mean_model(spec.gain, spec.bias)
    frames = {"golden/dark.png": solid(40), "golden/red.png": solid(230)}
    files = {
        "model/fp32.onnx": spec.model or good,
        "evaluation.json": b"{}",
        "reference.json": _reference(spec),
        **{name: encode_png(frame) for name, frame in frames.items()},
    }
    golden = _golden(spec, good, {name: files[name] for name in frames})
    content = archive.pack(_manifest(spec, golden, archive.file_entries(files)), files)
    return archive.digest(content), content


def _golden(spec: TinySpec, model: bytes, pictures: dict[str, bytes]) -> list[GoldenSample]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").mkdir()
        (folder / "model/fp32.onnx").write_bytes(model)
        judge = BundleModel(folder, _manifest(spec, [], {}), Runtime.ONNX, Precision.FP32)
        results = {file: judge.judge(decode_image(data, 3)) for file, data in pictures.items()}
    return [
        GoldenSample(
            file=file,
            verdict=Verdict(result.verdict),
            scores={"onnx/fp32": min(max(result.score + spec.golden_shift, 0), 1)},
        )
        for file, result in results.items()
    ]


def _manifest(spec: TinySpec, golden: list[GoldenSample], files: dict[str, FileEntry]) -> Manifest:
    model = ModelFile(
        runtime=Runtime.ONNX, precision=Precision.FP32, file="model/fp32.onnx",
        dtype="float32", layout="nchw", score_tolerance=0.02,
    )  # fmt: skip
    fields: dict[str, Any] = {
        "v": 1,
        "line": spec.line,
        "created_s": 1_760_000_000.0,
        "epoch": spec.epoch,
        "hardware": ["*"],
        "input": InputSchema(channels=3, min_side=8, max_side=4096),
        "preprocess": Preprocess(height=SIDE, width=SIDE, channel_order="rgb"),
        "models": [model],
        "decision": spec.decision or Decision(threshold=0.5, near_margin=0.05),
        "classes": ["defect"],
        "golden": golden,
        "reference": "reference.json",
        "evaluation": "evaluation.json",
        "lineage": Lineage(dataset="0" * 64, config="0" * 64, code=spec.name, seed=1),
        "files": files,
    }
    if not golden:
        return Manifest.model_construct(**fields)
    return Manifest(**fields)


def _reference(spec: TinySpec) -> bytes:
    window = WindowAccumulator(spec.line, "reference", "0" * 64, 0.0)
    frame = solid(127)
    window.frame(frame_statistics(frame, None))
    middle = 1 / (1 + np.exp(-spec.bias))
    mean = float(middle) if spec.reference_mean is None else spec.reference_mean
    for number in range(1, 21):
        window.verdict(number, Verdict.ACCEPT, digest="0" * 64, score=mean, latency_ms=1.0)
    return Reference(window=window.close(1.0)).model_dump_json().encode()
