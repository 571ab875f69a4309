"""LiteRT: fp32 by litert_torch, int8 by ai_edge_quantizer (static, weights per channel)."""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fleet_contract.inference.preprocess import to_tensor
from fleet_contract.manifest import ModelFile
from fleet_contract.names import Precision, Runtime
from trainer.export.quiet import quiet
from trainer.network import InspectionNet

_FLOAT_OPS = ("INPUT", "OUTPUT", "FULLY_CONNECTED")
"""Stay in float: the interface is the fp32 model's, and the last layer's one number is the score."""


def model_file(precision: Precision, tolerance: float) -> ModelFile:
    """How the manifest describes the file of that precision."""
    return ModelFile(runtime=Runtime.LITERT, precision=precision, file=f"model/{precision}.tflite",
                     dtype="float32", layout="nhwc", score_tolerance=tolerance)  # fmt: skip


Ranges = dict[str, MutableMapping[str, Any]]
"""By tensor: `min` and `max` arrays, and what else the quantizer keeps."""


class _ChannelsLast(nn.Module):
    """The network with NHWC input: LiteRT's convolutions are NHWC, so no transpose is left over."""

    def __init__(self, model: InspectionNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        score, mask = self.model(image.permute(0, 3, 1, 2))
        return score, mask.squeeze(1)


def export_fp32(model: InspectionNet, example: NDArray[np.uint8], out: Path) -> None:
    """Writes the fp32 graph for inputs of the size of `example` ([h, w, c] uint8)."""
    tensor = torch.from_numpy(to_tensor(example, model_file(Precision.FP32, 1.0)))
    with quiet():
        import litert_torch  # pulls in jax, which is slow and talkative

        litert_torch.convert(_ChannelsLast(model).eval(), (tensor,)).export(str(out))


def quantize(fp32: Path, images: NDArray[np.uint8], out: Path) -> None:
    """Writes the int8 graph; `images` [n, h, w, c] uint8 show the range of every activation."""
    file = model_file(Precision.FP32, 1.0)
    with quiet():
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_quantizer import quantizer, recipe

        signatures = Interpreter(model_path=str(fp32)).get_signature_list()
        signature = next(iter(signatures))
        name = signatures[signature]["inputs"][0]
        worker = quantizer.Quantizer(str(fp32), recipe.static_wi8_ai8())
        for operation in _FLOAT_OPS:
            worker.update_quantization_recipe(
                regex=".*", operation_name=operation, algorithm_key="no_quantize"
            )
        ranges: Ranges = {}
        for image in images:
            feed = {signature: [{name: to_tensor(image, file)}]}
            _widen(ranges, worker.calibrate(feed, num_threads=1))
        worker.quantize(ranges).export_model(str(out), overwrite=True)


def _widen(ranges: Ranges, more: Ranges) -> None:
    """Takes `more` into `ranges`.

    The quantizer's own calibration averages the ranges of the images, which cuts off what only
    defects reach; so each image is calibrated by itself, and the widest range is kept.
    """
    for tensor, found in more.items():
        known = ranges.setdefault(tensor, dict(found))
        if "min" in found and "max" in found:
            known["min"] = np.minimum(known["min"], found["min"])
            known["max"] = np.maximum(known["max"], found["max"])
