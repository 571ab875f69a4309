"""A light segmentation-and-decision network for small supervised data sets.

After Bozic, Tabernik, Skocaj, *Mixed supervision for surface-defect detection*, Computers in
Industry 129, 2021: a fully convolutional part that locates defects, and a small head that decides
for the whole image. Only convolutions, BatchNorm and ReLU, so that everything folds and quantizes.
"""

import torch
from torch import Tensor, nn

STRIDE = 4
"""Pixels of the input per cell of the mask, in each direction."""
_CHANNELS = (24, 48, 96)
_DILATIONS = (1, 2, 4, 8)
_PIXEL_CENTRE, _PIXEL_SCALE = 127.5, 64.0


class ConvBlock(nn.Sequential):
    """3x3 convolution, BatchNorm, ReLU; keeps height and width where the stride is 1."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class InspectionNet(nn.Module):
    """Images to a score and a mask.

    Input: float32 [n, channels, height, width], pixel values 0 to 255, sides divisible by 8.
    Output: `score` float32 [n, 1], one logit an image, and `mask` float32 [n, 1, height/4, width/4],
    logits of "this place is defective".
    """

    def __init__(self, channels: int, width: float = 1.0) -> None:
        super().__init__()
        half, quarter, eighth = (max(8, round(count * width / 4) * 4) for count in _CHANNELS)
        self.at_2 = ConvBlock(channels, half, stride=2)
        self.at_4 = nn.Sequential(ConvBlock(half, quarter, stride=2), ConvBlock(quarter, quarter))
        self.at_8 = nn.Sequential(
            ConvBlock(quarter, eighth, stride=2),
            *(ConvBlock(eighth, eighth, dilation=dilation) for dilation in _DILATIONS),
        )
        self.narrow = nn.Conv2d(eighth, quarter, 1)
        self.lateral = nn.Conv2d(quarter, quarter, 1)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.fuse = nn.Sequential(nn.ReLU(), ConvBlock(quarter, quarter))
        self.locate = nn.Conv2d(quarter, 1, 1)
        self.decide = nn.Linear(2 * (eighth + 1), 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.at_4(self.at_2((image - _PIXEL_CENTRE) * (1 / _PIXEL_SCALE)))
        eighth = self.at_8(quarter)
        fused = self.fuse(self.up(self.narrow(eighth)) + self.lateral(quarter))
        mask = self.locate(fused)
        # The decision does not pull the mask about: it learns from a located defect, not instead of it.
        seen = mask.detach() if self.training else mask
        features = [_pool(eighth), _pool(seen)]
        return self.decide(torch.cat(features, dim=1)), mask


def _pool(maps: Tensor) -> Tensor:
    """[n, c, h, w] to [n, 2c]: the largest value and the mean of each map."""
    return torch.cat([maps.amax(dim=(2, 3)), maps.mean(dim=(2, 3))], dim=1)
