"""ONNX: fp32 by torch's exporter, int8 as QDQ, per channel, calibrated on the line's own images."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fleet_contract.inference.preprocess import to_tensor
from fleet_contract.manifest import ModelFile
from fleet_contract.names import Precision, Runtime
from trainer.export.quiet import quiet
from trainer.network import InspectionNet

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_INPUT = "image"


def model_file(precision: Precision, tolerance: float) -> ModelFile:
    """How the manifest describes the file of that precision."""
    return ModelFile(runtime=Runtime.ONNX, precision=precision, file=f"model/{precision}.onnx",
                     dtype="float32", layout="nchw", score_tolerance=tolerance)  # fmt: skip


def export_fp32(model: InspectionNet, example: NDArray[np.uint8], out: Path) -> None:
    """Writes the fp32 graph for inputs of the size of `example` ([h, w, c] uint8)."""
    tensor = torch.from_numpy(to_tensor(example, model_file(Precision.FP32, 1.0)))
    with quiet():
        program = torch.onnx.export(
            model, (tensor,), dynamo=True, verbose=False,
            input_names=[_INPUT], output_names=["score", "mask"],
        )  # fmt: skip
        assert program is not None  # with dynamo=True and no file it is always returned
        program.save(str(out))


def quantize(fp32: Path, images: NDArray[np.uint8], out: Path) -> None:
    """Writes the int8 graph; `images` [n, h, w, c] uint8 show the range of every activation.

    The last layer stays in float: its one number is the score, and it costs nothing.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = out.with_suffix(".prepared")
    with quiet():
        # The symbolic pass fails on torch's exported shapes, and shapes are fixed anyway.
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(out), _Reader(images), quant_format=QuantFormat.QDQ,
            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_exclude=_final_layers(prepared),
        )  # fmt: skip
    prepared.unlink()


def _final_layers(path: Path) -> list[str]:
    import onnx

    return [node.name for node in onnx.load(str(path)).graph.node if node.op_type == "Gemm"]


class _Reader:
    """onnxruntime's protocol for calibration: one feed after another, then None."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._feeds = self._all(images)

    def _all(self, images: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[Any]]]:
        file = model_file(Precision.FP32, 1.0)
        for image in images:
            yield {_INPUT: to_tensor(image, file)}

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next feed."""
        return next(self._feeds, None)
