"""Weights rounded so that each layer's output changes least, instead of each weight by itself.

Optimal Brain Compression in the order of GPTQ (Frantar 2022, 2023): a layer's weights are rounded one
input after the other, and what the rounding of one changes is made up for by those that follow, as
the inputs go together on the line's own pictures. Nothing is trained. The grid is the one that both
converters choose: symmetric, one scale an output channel, its largest weight at 127.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Weight:
    """One convolution's, [outputs, inputs / groups, h, w]."""

    before: NDArray[np.float32]
    rounded: NDArray[np.float32]
    """On int8's grid."""


Rounding = dict[str, Weight]
"""By the name of the parameter."""

_MOST = 127
_PICTURES, _PLACES = 24, 256
"""So many pictures, and places of each, show how the inputs of a layer go together."""
_DAMPING = 0.01
"""Of the mean input energy, added to all: few places do not show every input."""
_LEAST, _TINY = 1e-8, 1e-30
"""Of energy and of a weight, where a layer hears or says nothing."""


@torch.no_grad()
def round_weights(model: nn.Module, pictures: NDArray[np.uint8], skip: int) -> Rounding:
    """`pictures` [n, h, w, c] uint8; the first `skip` convolutions stay as they are.

    `model` is in evaluation mode, without BatchNorm, and is not changed.
    """
    energies = _energies(model, pictures[:: max(1, len(pictures) // _PICTURES)])
    layers = {layer: name for name, layer in model.named_modules()}
    return {
        f"{layers[layer]}.weight": Weight(
            layer.weight.numpy().copy(), _rounded(layer, energy).numpy()
        )
        for layer, energy in list(energies.items())[skip:]
    }


def _energies(model: nn.Module, pictures: NDArray[np.uint8]) -> dict[nn.Conv2d, Tensor]:
    """Of each convolution, in the order of their calls: [groups, k, k] float64, X^T X of its inputs."""
    found: dict[nn.Conv2d, Tensor] = {}
    generator = torch.Generator().manual_seed(0)

    def watch(layer: nn.Conv2d) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            seen = _patches(layer, inputs[0], generator)
            energy = (seen.transpose(1, 2) @ seen).double()
            found[layer] = found.get(layer, torch.zeros(())) + energy

        return hook

    handles = [
        layer.register_forward_hook(watch(layer))
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    try:
        for picture in pictures:
            chunk = np.ascontiguousarray(picture.transpose(2, 0, 1)[None])
            model(torch.from_numpy(chunk).float())
    finally:
        for handle in handles:
            handle.remove()
    return found


def _patches(layer: nn.Conv2d, maps: Tensor, generator: torch.Generator) -> Tensor:
    """[groups, places, inputs of a weight] what single places of the output are computed from."""
    (up, down), (left, right) = ((pad, pad) for pad in _pair(layer.padding))
    framed = functional.pad(maps[0], (left, right, up, down))
    spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    y, x = (
        torch.randint((side - span - 1) // stride + 1, (_PLACES,), generator=generator) * stride
        for side, span, stride in zip(framed.shape[1:], spans, layer.stride, strict=True)
    )
    (high, wide), (down_by, right_by) = layer.kernel_size, layer.dilation
    taps = [
        framed[:, y + row * down_by, x + column * right_by]
        for row in range(high)
        for column in range(wide)
    ]
    return torch.stack(taps, 1).reshape(layer.groups, -1, _PLACES).transpose(1, 2)


def _pair(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    assert not isinstance(padding, str)
    return padding


def _rounded(layer: nn.Conv2d, energy: Tensor) -> Tensor:
    weights = layer.weight.reshape(layer.groups, -1, energy.shape[-1]).double()
    return _on_grid(weights, energy).reshape(layer.weight.shape).float()


def _on_grid(weights: Tensor, energy: Tensor) -> Tensor:
    """`weights` [g, rows, k], `energy` [g, k, k]: the rounded weights."""
    scale = weights.abs().amax(2).clamp_min(_TINY) / _MOST
    diagonal = energy.diagonal(dim1=1, dim2=2)
    damped = energy + torch.diag_embed(
        (_DAMPING * diagonal.mean(1, keepdim=True) + _LEAST).expand_as(diagonal)
    )
    # Those that matter most come first, while there are others left to make up for them.
    order = diagonal.argsort(1, descending=True)
    rows = order[:, None].expand_as(weights)
    left = weights.gather(2, rows)
    factor = _inverse_factor(
        damped.gather(1, order[:, :, None].expand_as(energy)).gather(
            2, order[:, None].expand_as(energy)
        )
    )
    # The largest weight of a row stays: the converters take the row's scale from it.
    top = left.abs().argmax(2, keepdim=True)
    kept = left.gather(2, top)
    done = torch.empty_like(left)
    for index in range(left.shape[2]):
        column = left[:, :, index]
        rounded = (column / scale).round().clamp(-_MOST, _MOST) * scale
        done[:, :, index] = rounded
        error = (column - rounded) / factor[:, index, index, None]
        left[:, :, index + 1 :] -= error[:, :, None] * factor[:, None, index, index + 1 :]
        left.scatter_(2, top, kept)
    return torch.empty_like(done).scatter_(2, rows, done)


def _inverse_factor(energy: Tensor) -> Tensor:
    """Upper Cholesky factor of the inverse: row i says how the inputs after i make up for it."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(energy))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
