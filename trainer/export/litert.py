"""LiteRT: fp32 by litert_torch, int8 by ai_edge_quantizer (static, weights per channel)."""

import math
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fleet_contract.errors import ModelError
from fleet_contract.inference.preprocess import to_tensor
from fleet_contract.inference.runtime import load_model
from fleet_contract.manifest import ModelFile
from fleet_contract.names import Precision, Runtime
from trainer.export.first import FirstLayers
from trainer.export.quiet import quiet
from trainer.export.rounding import Rounding

_FLOAT_OPS = ("INPUT", "OUTPUT", "SUB", "MUL", "FULLY_CONNECTED")
"""Stay in float: the interface is the fp32 model's, pixel values are centred once for layers that are
float too, and the last layer's one number is the score."""


def model_file(precision: Precision, tolerance: float, member: int = 0) -> ModelFile:
    """How the manifest describes the file of that precision."""
    return ModelFile(runtime=Runtime.LITERT, precision=precision, member=member,
                     file=f"model/{precision}{f'-{member}' if member else ''}.tflite",
                     dtype="float32", layout="nhwc", score_tolerance=tolerance)  # fmt: skip


_FIRST_OPS = ("CONV_2D", "DEPTHWISE_CONV_2D", "PAD")
_HEAD_OPS = ["RESIZE_NEAREST_NEIGHBOR", "ADD", "CONCATENATION", "REDUCE_MAX", "MEAN"]
"""What joins maps of different ranges, where one scale fits them all badly."""

Ranges = dict[str, MutableMapping[str, Any]]
"""By tensor: `min` and `max` arrays, and what else the quantizer keeps."""


class _ChannelsLast(nn.Module):
    """The network with NHWC input: LiteRT's convolutions are NHWC, so no transpose is left over."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        score, mask, *kinds = self.model(image.permute(0, 3, 1, 2))
        return score, mask.squeeze(1), *kinds


def export_fp32(model: nn.Module, example: NDArray[np.uint8], out: Path) -> None:
    """Writes the fp32 graph for inputs of the size of `example` ([h, w, c] uint8)."""
    tensor = torch.from_numpy(to_tensor(example, model_file(Precision.FP32, 1.0)))
    with quiet():
        import litert_torch  # pulls in jax, which is slow and talkative

        litert_torch.convert(_ChannelsLast(model).eval(), (tensor,)).export(str(out))


def quantize(
    fp32: Path,
    images: NDArray[np.uint8],
    out: Path,
    max_change: float,
    first: FirstLayers,
    rounding: Rounding,
) -> dict[str, object]:
    """Writes the int8 graph; `images` [n, h, w, c] uint8 show the range of every activation.

    Weights that `rounding` names are taken from there. The `first` layers stay in float. Where the
    mean score changes by more than `max_change`, the layers by which the defect map is made stay in
    float too.
    """
    change = math.inf
    prepared = out.with_suffix(".prepared")
    _write_rounded(fp32, prepared, rounding)
    for kept in ([], _HEAD_OPS):
        _quantize_but(prepared, images, out, kept, first)
        change = _change(fp32, out, images)
        if change <= max_change:
            break
    prepared.unlink()
    return {"mean_score_change": round(change, 5), "float_layers": [first.scope, *kept]}


def _write_rounded(fp32: Path, out: Path, rounding: Rounding) -> None:
    """The graph with rounded weights. They bear no names there: each is known by its values."""
    with quiet():
        from ai_edge_litert.tools import flatbuffer_utils

        model = flatbuffer_utils.read_model(str(fp32))
    buffers = {bytes(one.data): one for one in model.buffers if one.data is not None}
    for name, weight in rounding.items():
        there = buffers.get(_as_litert(weight.before).tobytes())
        if there is None:
            raise ModelError(f"LiteRT's graph of the network does not hold the weights {name}")
        there.data = np.frombuffer(_as_litert(weight.rounded).tobytes(), np.uint8)
    flatbuffer_utils.write_model(model, str(out))


def _as_litert(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """[outputs, h, w, inputs]; of one input each, [1, h, w, outputs]."""
    each = weight.shape[1] == 1
    return np.ascontiguousarray(weight.transpose((1, 2, 3, 0) if each else (0, 2, 3, 1)))


def _quantize_but(
    prepared: Path, images: NDArray[np.uint8], out: Path, kept: list[str], first: FirstLayers
) -> None:
    file = model_file(Precision.FP32, 1.0)
    with quiet():
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_quantizer import quantizer, recipe

        signatures = Interpreter(model_path=str(prepared)).get_signature_list()
        signature = next(iter(signatures))
        name = signatures[signature]["inputs"][0]
        worker = quantizer.Quantizer(str(prepared), recipe.static_wi8_ai8())
        for operation in (*_FLOAT_OPS, *kept):
            worker.update_quantization_recipe(
                regex=".*", operation_name=operation, algorithm_key="no_quantize"
            )
        for operation in _FIRST_OPS:
            worker.update_quantization_recipe(
                regex=first.scope, operation_name=operation, algorithm_key="no_quantize"
            )
        ranges: Ranges = {}
        for image in images:
            feed = {signature: [{name: to_tensor(image, file)}]}
            _widen(ranges, worker.calibrate(feed, num_threads=1))
        worker.quantize(ranges).export_model(str(out), overwrite=True)


def _change(fp32: Path, int8: Path, images: NDArray[np.uint8]) -> float:
    """Mean absolute change of the score on `images`."""
    files = [
        model_file(Precision.FP32, 1.0).model_copy(update={"file": p.name}) for p in (fp32, int8)
    ]
    exact, small = (load_model(fp32.parent, file) for file in files)
    tensors = [to_tensor(image, files[0]) for image in images]
    return float(np.mean([abs(exact.run(t).score - small.run(t).score) for t in tensors]))


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
