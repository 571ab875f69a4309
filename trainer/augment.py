"""Batches for training: balanced by class, cut, and lit as the line may light them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.config import AugmentTable
from trainer.data.images import Images
from trainer.network import STRIDE


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step learns from."""

    image: Tensor
    """[n, channels, h, w] float32, 0 to 255."""
    mask: Tensor
    """[n, 1, h/4, w/4] float32, 0 or 1."""
    masked: Tensor
    """[n] bool: whether the mask is known."""
    label: Tensor
    """[n, 1] float32, 1 for defective."""


class Batches:
    """Draws batches: half good, half defective, each class of defect as often as another."""

    def __init__(self, images: Images, augment: AugmentTable, size: int, seed: int) -> None:
        self._images, self._augment, self._size = images, augment, size
        self._rng = np.random.default_rng(seed)
        labels = np.array([item.label for item in images.items])
        defects = sorted(set(labels[images.defective]))
        self._good = np.flatnonzero(~images.defective)
        self._classes = [np.flatnonzero(labels == label) for label in defects]
        located = [group[images.masked[group]] for group in self._classes]
        self._located = [group for group in located if group.size]

    @property
    def locatable(self) -> bool:
        """Whether any defect has a mask, so that crops can be cut around defects."""
        return bool(self._located)

    def whole(self) -> Batch:
        """Whole images, of all classes."""
        height, width = self._images.pixels.shape[1:3]
        chosen = self._draw(self._classes)
        limit = self._augment.shift
        corners = self._rng.integers(-limit, limit + 1, (len(chosen), 2))
        return self._batch(chosen, corners, (height, width))

    def crops(self, share: float) -> Batch:
        """Crops of `share` of the sides, those of defective images over a marked place."""
        height, width = self._images.pixels.shape[1:3]
        size = (_multiple(height * share), _multiple(width * share))
        chosen = self._draw(self._located)
        corners = np.stack([self._corner(int(index), size) for index in chosen])
        return self._batch(chosen, corners, size)

    def _draw(self, classes: list[NDArray[np.intp]]) -> NDArray[np.intp]:
        good = self._rng.choice(self._good, self._size // 2)
        kinds = self._rng.integers(0, len(classes), self._size - len(good))
        bad = [self._rng.choice(classes[kind]) for kind in kinds]
        return np.concatenate([good, np.array(bad, np.intp)])

    def _corner(self, index: int, size: tuple[int, int]) -> NDArray[np.int64]:
        sides = np.array(self._images.pixels.shape[1:3], np.int64)
        room = sides - size
        if not self._images.defective[index]:
            return np.asarray(self._rng.integers(np.zeros(2, np.int64), room + 1), np.int64)
        places = np.argwhere(self._images.masks[index])
        place = places[self._rng.integers(len(places))]
        inside = self._rng.uniform(0.15, 0.85, 2) * size
        return np.asarray(np.clip(place - inside.astype(int), 0, room), np.int64)

    def _batch(
        self, chosen: NDArray[np.intp], corners: NDArray[np.int64], size: tuple[int, int]
    ) -> Batch:
        images = [
            _cut(self._images.pixels[i], c, size) for i, c in zip(chosen, corners, strict=True)
        ]
        masks = [_cut(self._images.masks[i], c, size) for i, c in zip(chosen, corners, strict=True)]
        image = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)).float()
        mask = torch.from_numpy(np.stack(masks)[:, None]).float()
        masked = self._images.masked[chosen]
        marked = np.array([m.any() for m in masks])
        label = np.where(masked, marked, self._images.defective[chosen])
        image, mask = self._flipped(self._lit(image), mask)
        return Batch(
            image.contiguous(memory_format=torch.channels_last),
            torch.nn.functional.max_pool2d(mask, STRIDE),
            torch.from_numpy(masked),
            torch.from_numpy(label[:, None]).float(),
        )

    def _lit(self, image: Tensor) -> Tensor:
        count, channels = image.shape[:2]
        spread = self._augment.colour
        gain = self._rng.uniform(*self._augment.gain, (count, 1, 1, 1))
        colour = self._rng.uniform(1 - spread, 1 + spread, (count, channels, 1, 1))
        offset = self._rng.uniform(*self._augment.offset, (count, 1, 1, 1))
        sigma = self._rng.uniform(*self._augment.noise, (count, 1, 1, 1))
        noise = self._rng.standard_normal(image.shape, np.float32) * sigma.astype(np.float32)
        lit = image * torch.from_numpy(gain * colour).float() + torch.from_numpy(offset).float()
        return (lit + torch.from_numpy(noise)).clamp_(0, 255)

    def _flipped(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if not self._augment.flip:
            return image, mask
        axes = [axis for axis in (2, 3) if self._rng.random() < 0.5]
        return image.flip(axes), mask.flip(axes)


def _multiple(side: float) -> int:
    """The nearest multiple of 8, at least 32: what the network's strides divide."""
    return max(32, round(side / 8) * 8)


def _cut(
    picture: NDArray[np.generic], corner: NDArray[np.int64], size: tuple[int, int]
) -> NDArray[np.generic]:
    """A window of `size` at `corner`; what lies outside repeats the border."""
    top, left = int(corner[0]), int(corner[1])
    height, width = picture.shape[:2]
    if top >= 0 and left >= 0 and top + size[0] <= height and left + size[1] <= width:
        return picture[top : top + size[0], left : left + size[1]]
    rows = np.clip(np.arange(top, top + size[0]), 0, height - 1)
    columns = np.clip(np.arange(left, left + size[1]), 0, width - 1)
    return picture[rows[:, None], columns[None]]
