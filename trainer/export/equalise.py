"""Channels of one tensor brought to one range, so that int8's one scale a tensor fits them all.

Cross-layer equalisation (Nagel 2019, *Data-free quantization through weight equalization and bias
correction*): what a layer's channel is multiplied by, the next layer divides by again. Between a
linear layer and its readers that changes nothing. Across a ReLU6 it changes nothing as long as a
channel stays below six, so only channels with room are raised, and some room is left.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.network import InspectionNet, InvertedResidual, PretrainedTrunk

_CLIP = 6.0
_ROOM = 1.5
"""A channel may become so much larger than it was on the pictures before it is clipped."""
_MOST = 16.0
_BATCH = 8


@torch.no_grad()
def equalise(model: InspectionNet, pictures: NDArray[np.uint8]) -> None:
    """In place; `pictures` [n, h, w, c] uint8 show the range of every channel."""
    trunk = model.trunk
    if not isinstance(trunk, PretrainedTrunk):
        return
    blocks = [block for stage in trunk.stages for block in stage.children()]
    clipped = [layer for block in blocks for layer in _clipped(block)]
    streams = [list(stage.children()) for stage in trunk.stages]
    largest = _ranges(model, pictures, [*clipped, *blocks])
    for block in blocks:
        _raise(block, largest)
    for index, stream in enumerate(streams):
        _level(model, index, stream, largest)


def _clipped(block: nn.Module) -> list[nn.Module]:
    assert isinstance(block, InvertedResidual)
    return [part for part in (block.widen, block.filter) if isinstance(part, nn.Sequential)]


def _ranges(
    model: nn.Module, pictures: NDArray[np.uint8], layers: Iterable[nn.Module]
) -> dict[nn.Module, Tensor]:
    """Largest magnitude of every channel of each layer's output."""
    found: dict[nn.Module, Tensor] = {}

    def watch(layer: nn.Module) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            peak = output.abs().amax(dim=(0, 2, 3))
            found[layer] = torch.maximum(found.get(layer, torch.zeros_like(peak)), peak)

        return hook

    handles = [layer.register_forward_hook(watch(layer)) for layer in layers]
    try:
        for start in range(0, len(pictures), _BATCH):
            chunk = np.ascontiguousarray(pictures[start : start + _BATCH].transpose(0, 3, 1, 2))
            model(torch.from_numpy(chunk).float())
    finally:
        for handle in handles:
            handle.remove()
    return found


def _raise(block: nn.Module, largest: dict[nn.Module, Tensor]) -> None:
    """Raises the channels that have room below the clip; the layer after takes them back."""
    assert isinstance(block, InvertedResidual)
    pairs = [(block.filter, block.narrow[0], 1)]
    if isinstance(block.widen, nn.Sequential):
        # A depthwise layer reads one channel each: its weights lie by output channel.
        pairs.append((block.widen, block.filter[0], 0))
    for layer, reader, axis in pairs:
        room = _CLIP / (largest[layer] * _ROOM).clamp(min=1e-6)
        factor = room.clamp(min=1.0, max=_MOST)
        _scale_output(layer[1], factor)
        _scale_input(reader, factor, axis)


def _level(
    model: InspectionNet, index: int, blocks: list[nn.Module], largest: dict[nn.Module, Tensor]
) -> None:
    """Brings the channels of a stage's linear outputs, which its blocks add to, to their mean range."""
    trunk = model.trunk
    assert isinstance(trunk, PretrainedTrunk)
    peak = torch.stack([largest[block] for block in blocks]).amax(dim=0).clamp(min=1e-3)
    factor = (peak.mean() / peak).clamp(min=1 / _MOST, max=_MOST)
    for block in blocks:
        assert isinstance(block, InvertedResidual)
        _scale_output(block.narrow[1], factor)
    readers = [block.widen[0] for block in blocks[1:] if isinstance(block, InvertedResidual)
               and isinstance(block.widen, nn.Sequential)]  # fmt: skip
    if index + 1 < len(trunk.stages):
        following = next(iter(trunk.stages[index + 1].children()))
        assert isinstance(following, InvertedResidual)
        assert isinstance(following.widen, nn.Sequential)
        readers.append(following.widen[0])
    if index in trunk.TAKEN:
        readers.append(model.laterals[trunk.TAKEN.index(index)])
    if index == len(trunk.stages) - 1:
        readers.append(model.context[0])
    for reader in readers:
        _scale_input(reader, factor, 1)


def _scale_output(norm: nn.Module, factor: Tensor) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    norm.weight.mul_(factor)
    norm.bias.mul_(factor)


def _scale_input(layer: nn.Module, factor: Tensor, axis: int) -> None:
    assert isinstance(layer, nn.Conv2d)
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    layer.weight.div_(factor.reshape(shape))
