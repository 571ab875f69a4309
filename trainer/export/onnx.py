"""ONNX: fp32 by torch's exporter, int8 as QDQ, per channel, calibrated on the line's own images."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fleet_contract.inference.preprocess import to_tensor
from fleet_contract.inference.runtime import load_model
from fleet_contract.manifest import ModelFile
from fleet_contract.names import Precision, Runtime
from trainer.export.first import FirstLayers
from trainer.export.plain import forget_sources
from trainer.export.quiet import quiet
from trainer.export.rounding import Rounding

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_INPUT = "image"
_MOST_FLOAT, _AT_ONCE = 12, 3
_LOSS_IMAGES = 8


def model_file(precision: Precision, tolerance: float, member: int = 0) -> ModelFile:
    """How the manifest describes the file of that precision."""
    return ModelFile(runtime=Runtime.ONNX, precision=precision, member=member,
                     file=f"model/{precision}{f'-{member}' if member else ''}.onnx",
                     dtype="float32", layout="nchw", score_tolerance=tolerance)  # fmt: skip


def tensor_of(view: NDArray[np.uint8]) -> NDArray[Any]:
    """The graph's input of a view ([h, w, c] uint8)."""
    return to_tensor(view, model_file(Precision.FP32, 1.0))


def raw_logits(path: Path, views: NDArray[np.uint8]) -> NDArray[np.float64]:
    """[n] the `score` output itself; a probability would be 1 for all that are large."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    found = [session.run(["score"], {name: tensor_of(view)})[0] for view in views]
    return np.array(found, np.float64).reshape(len(views))


def export_fp32(model: nn.Module, example: NDArray[np.uint8], out: Path) -> None:
    """Writes the fp32 graph for inputs of the size of `example` ([h, w, c] uint8)."""
    tensor = torch.from_numpy(tensor_of(example))
    names = ["score", "mask", "kinds"]
    with quiet(), torch.no_grad():
        outputs = names[: len(model(tensor))]
        program = torch.onnx.export(
            model, (tensor,), dynamo=True, verbose=False,
            input_names=[_INPUT], output_names=outputs,
        )  # fmt: skip
        assert program is not None  # with dynamo=True and no file it is always returned
        program.save(str(out))
    forget_sources(out)


def quantize(
    fp32: Path,
    images: NDArray[np.uint8],
    out: Path,
    max_change: float,
    first: FirstLayers,
    rounding: Rounding,
) -> dict[str, object]:
    """Writes the int8 graph; `images` [n, h, w, c] uint8 show the range of every activation.

    Weights that `rounding` names are taken from there.

    The last layer stays in float: its one number is the score, and it costs nothing; so do the
    `first`. Where the mean
    score changes by more than `max_change`, the layers whose activations change most stay in float
    as well, three at a time, until it does not or there are twelve of them.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = out.with_suffix(".prepared")
    with quiet():
        # The symbolic pass fails on torch's exported shapes, and shapes are fixed anyway.
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        _replace(prepared, rounding)
        always = _convolutions(prepared)[: first.convolutions]
        kept = always
        _quantize_but(prepared, out, images, kept)
        change = _change(fp32, out, images)
        ranked = [] if change <= max_change else _by_loss(prepared, out, images)
        more = 0
        while change > max_change and more < min(_MOST_FLOAT, len(ranked)):
            more += _AT_ONCE
            kept = [*always, *(name for name in ranked[:more] if name not in always)]
            _quantize_but(prepared, out, images, kept)
            change = _change(fp32, out, images)
    prepared.unlink()
    return {"mean_score_change": round(change, 5), "float_layers": kept}


def _replace(path: Path, rounding: Rounding) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, weight in rounding.items():
        tensors[name].CopyFrom(numpy_helper.from_array(weight.rounded, name))
    onnx.save(model, str(path))


def _quantize_but(prepared: Path, out: Path, images: NDArray[np.uint8], kept: list[str]) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        str(prepared), str(out), _Reader(images), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        nodes_to_exclude=[*_final_layers(prepared), *kept],
    )  # fmt: skip


def _final_layers(path: Path) -> list[str]:
    """The layers that make the score, and what calibrates it."""
    import onnx

    nodes = onnx.load(str(path)).graph.node
    return [n.name for n in nodes if n.op_type == "Gemm" or n.name.startswith("calibration_")]


def _convolutions(path: Path) -> list[str]:
    """From the input on."""
    import onnx

    return [node.name for node in onnx.load(str(path)).graph.node if node.op_type == "Conv"]


def _change(fp32: Path, int8: Path, images: NDArray[np.uint8]) -> float:
    """Mean absolute change of the score on `images`."""
    exact, small = (
        load_model(path.parent, model_file(precision, 1.0).model_copy(update={"file": path.name}))
        for path, precision in ((fp32, Precision.FP32), (int8, Precision.INT8))
    )
    pairs = [(exact.run(tensor_of(i)).score, small.run(tensor_of(i)).score) for i in images]
    return float(np.mean([abs(a - b) for a, b in pairs]))


def _by_loss(prepared: Path, int8: Path, images: NDArray[np.uint8]) -> list[str]:
    """Convolutions, those first whose output int8 changes most (signal to noise, Wu 2020)."""
    import onnx
    from onnxruntime.quantization.qdq_loss_debug import (
        collect_activations,
        compute_activation_error,
        create_activation_matching,
        modify_model_output_intermediate_tensors,
    )

    found = []
    for path in (int8, prepared):
        debug = path.with_suffix(".debug")
        modify_model_output_intermediate_tensors(str(path), str(debug))
        found.append(collect_activations(str(debug), _Reader(images[:_LOSS_IMAGES])))
        debug.unlink()
    errors = compute_activation_error(create_activation_matching(*found))
    makers = {
        n.output[0]: n.name for n in onnx.load(str(prepared)).graph.node if n.op_type == "Conv"
    }
    ratios = {
        makers[name]: float(np.mean(e["qdq_err"])) for name, e in errors.items() if name in makers
    }
    return sorted(ratios, key=lambda name: ratios[name])


class _Reader:
    """onnxruntime's protocol for calibration: one feed after another, then None."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._feeds = ({_INPUT: tensor_of(image)} for image in images)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        return self._feeds

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next feed."""
        return next(self._feeds, None)
