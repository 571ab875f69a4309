"""A statistical head: how far features lie from those of good parts. Fits in seconds.

After PaDiM (Defard 2020): a Gaussian for each place over the features of a network that was trained
on ImageNet. Means are by place, as far as places differ at all (parts that lie still have them, a
texture has not), and one covariance is shared by all places, so that few pictures suffice.
"""

import logging

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import TrainerConfig
from trainer.data.images import Images
from trainer.network import PretrainedTrunk, normalise

log = logging.getLogger(__name__)

_SHRINK = 0.05
"""Of the covariance towards a multiple of one (Ledoit, Wolf 2004), so that it can be inverted."""
_MOST_IMAGES = 200
_BATCH = 8


class StatisticalNet(nn.Module):
    """Images to a score and a mask; `fit` first.

    Input: float32 [n, channels, height, width], pixel values 0 to 255, sides divisible by 16.
    Output: `score` [n, 1], `mask` [n, 1, height/8, width/8]; both grow with the mean squared
    Mahalanobis distance of the features.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.trunk = PretrainedTrunk(channels)
        self.trunk.load_imagenet()
        count = self.trunk.channels[1] + self.trunk.channels[2]
        self.whiten = nn.Conv2d(count, count, 1, bias=False)
        self.gather = nn.Conv2d(count, 1, 1, bias=False)
        self.register_buffer("mean", torch.zeros(1, count, size[0] // 8, size[1] // 8))
        self.final = nn.Linear(1, 1)
        self.requires_grad_(requires_grad=False)
        self.eval()

    mean: Tensor

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        distance = self.whiten(self.features(image)) - self.mean
        mask = self.gather(distance * distance)
        peak = functional.avg_pool2d(mask, 2).amax(dim=(2, 3))
        return self.final(peak), mask

    def features(self, image: Tensor) -> Tensor:
        """[n, c, h/8, w/8]."""
        _, fine, deep = self.trunk(normalise(image))
        return torch.cat([fine, functional.interpolate(deep, scale_factor=2.0, mode="nearest")], 1)

    @torch.no_grad()
    def fit(self, pictures: Tensor) -> None:
        """From good parts only, [n, channels, h, w] float32."""
        batches = [self.features(one) for one in torch.split(pictures, _BATCH)]
        found = torch.cat(batches)
        overall = found.mean(dim=(0, 2, 3), keepdim=True)
        place = found.mean(dim=0, keepdim=True)
        # The share of the variance that the place explains, beyond what chance gives n pictures.
        total = (found - overall).square().mean()
        within = (found - place).square().mean() * len(found) / max(len(found) - 1, 1)
        held = float((1 - within / total).clamp(0, 1))
        mean = overall + held * (place - overall)
        rest = (found - mean).permute(1, 0, 2, 3).flatten(1)
        covariance = rest @ rest.T / rest.shape[1]
        level = covariance.diagonal().mean()
        covariance = (1 - _SHRINK) * covariance + _SHRINK * level * torch.eye(len(covariance))
        whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
        self.whiten.weight.copy_(whitening[:, :, None, None])
        self.mean.copy_(functional.conv2d(mean.expand_as(place), self.whiten.weight))
        self.gather.weight.fill_(1 / len(covariance))
        self.final.weight.fill_(1.0)
        _bias(self.final).zero_()


def fit_statistical(images: Images, config: TrainerConfig, size: tuple[int, int]) -> StatisticalNet:
    """Fitted on the good images (at most 200), at the graph's size."""
    torch.manual_seed(config.train.seed)
    good = np.flatnonzero(~images.defective)
    chosen = np.random.default_rng(config.train.seed).permutation(good)[:_MOST_IMAGES]
    model = StatisticalNet(images.pixels.shape[3], size)
    source = images.pixels if images.small_pixels is None else images.small_pixels
    pictures = np.ascontiguousarray(source[chosen].transpose(0, 3, 1, 2))
    model.fit(torch.from_numpy(pictures).float())
    return model


def _bias(layer: nn.Linear) -> Tensor:
    assert layer.bias is not None
    return layer.bias
