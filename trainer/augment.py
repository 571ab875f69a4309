"""Batches for training: balanced by class, moved, and lit as the line may light them."""

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from trainer.config import AugmentTable
from trainer.data.images import FIRST_KIND, SOMEWHERE, Images
from trainer.losses import Batch
from trainer.synthetic import Cutting, add_anomaly, cut_out, paste

_WHOLE_SHARE = 0.35
"""Of the views, where a line is judged in tiles and whole."""
_DEFECT_SHARE = 0.5
_ZOOM, _ZOOM_WITHOUT = 0.35, 0.12
"""Synthetic anomalies come in all sizes by themselves."""


class Batches:
    """Draws batches: half good, half defective, each class of defect as often as another.

    `synthetic` is the share of the good pictures that are given an anomaly (a defect of the line
    in half of those cases, where there are marked ones). Without defects every anomaly is synthetic.
    """

    def __init__(
        self,
        images: Images,
        augment: AugmentTable,
        batch: int,
        view: tuple[int, int],
        synthetic: float,
        seed: int,
    ) -> None:
        self._images, self._augment, self._size, self._view = images, augment, batch, view
        self._synthetic = synthetic
        self._rng = np.random.default_rng(seed)
        self._good = np.flatnonzero(~images.defective)
        kinds = images.kinds
        self._kinds = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds[kinds >= 0])]
        zoom = _ZOOM if self._kinds else _ZOOM_WITHOUT
        self._zoom = zoom if augment.zoom is None else augment.zoom
        self._cuttings: dict[int, Cutting | None] = {}
        self._cuttable = np.flatnonzero(images.defective & images.located)

    @property
    def state(self) -> dict[str, object]:
        """Of the random numbers, for a checkpoint."""
        return dict(self._rng.bit_generator.state)

    @state.setter
    def state(self, state: dict[str, object]) -> None:
        self._rng.bit_generator.state = state

    def next(self) -> Batch:
        """The next batch."""
        chosen = self._draw()
        views = [self._view_of(int(index)) for index in chosen]
        image = np.stack([view for view, _ in views]).transpose(0, 3, 1, 2).astype(np.float32)
        marks = np.stack([view_marks for _, view_marks in views])
        seen = (marks >= SOMEWHERE).reshape(len(marks), -1).any(axis=1)
        located = self._images.located[chosen]
        label = np.where(located, seen, self._images.defective[chosen])
        return Batch(
            torch.from_numpy(self._lit(image)).contiguous(memory_format=torch.channels_last),
            torch.from_numpy(marks),
            torch.from_numpy(located),
            torch.from_numpy(label[:, None].astype(np.float32)),
        )

    def _draw(self) -> NDArray[np.intp]:
        defective = round(self._size * _DEFECT_SHARE) if self._kinds else 0
        good = self._rng.choice(self._good, self._size - defective)
        kinds = self._rng.integers(0, max(len(self._kinds), 1), defective)
        bad = [self._rng.choice(self._kinds[kind]) for kind in kinds]
        return np.concatenate([good, np.array(bad, np.intp)])

    def _view_of(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        images = self._images
        small_pixels, small_marks = images.small_pixels, images.small_marks
        if small_pixels is not None and small_marks is not None and (
            not images.located[index] or self._rng.random() < _WHOLE_SHARE
        ):  # fmt: skip
            # Where it is not known where the defect lies, only the whole picture surely shows it.
            pixels, marks = small_pixels[index], small_marks[index]
        else:
            pixels, marks = images.pixels[index], images.marks[index]
        if not images.defective[index] and self._rng.random() < self._synthetic:
            pixels, marks = self._anomalous(pixels, marks)
        return self._moved(pixels, marks, closer=bool(images.located[index]))

    def _anomalous(
        self, pixels: NDArray[np.uint8], marks: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        full = pixels.shape == self._images.pixels.shape[1:]
        if self._cuttable.size and full and self._rng.random() < 0.5:
            source = int(self._rng.choice(self._cuttable))
            if source not in self._cuttings:
                self._cuttings[source] = cut_out(
                    self._images.pixels[source], self._images.marks[source]
                )
            cutting = self._cuttings[source]
            if cutting is not None:
                return paste(pixels, cutting, self._rng)
        if pixels.shape[0] < 8 or pixels.shape[1] < 8:
            return pixels, marks
        other = int(self._rng.choice(self._good))
        of = self._images.pixels[other] if full else self._images.small_pixels
        patch_source = of if full else of[other]  # type: ignore[index]
        assert patch_source is not None
        return add_anomaly(pixels, patch_source, FIRST_KIND, self._rng)

    def _moved(
        self, pixels: NDArray[np.uint8], marks: NDArray[np.uint8], *, closer: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """A view of the graph's size: the picture or a window of it, moved within what is allowed.

        `closer`: whether a part of the picture may do, for it is known where its defects lie. It is
        the middle: a defect that is cut off leaves an example of its own part without one. Windows
        that seek defects, or lie anywhere, taught less (docs/benchmarks.md).
        """
        augment, rng = self._augment, self._rng
        view = np.array(self._view, float)
        size = np.array(marks.shape, float)
        stretch = rng.uniform(-augment.stretch, augment.stretch) / 2
        most = math.log1p(self._zoom)
        zoom = math.exp(rng.uniform(-most, most if closer else 0.0))
        scale = zoom * np.exp([-stretch, stretch])
        if augment.flip:
            scale *= rng.choice([-1.0, 1.0], 2)
        angle = np.radians(rng.uniform(-augment.rotate, augment.rotate))
        centre = self._centre(marks, view, size) + rng.uniform(-augment.shift, augment.shift, 2)
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag(scale[::-1])
        offset = view[::-1] / 2 - turn @ centre[::-1]
        matrix = np.hstack([turn, offset[:, None]])
        target = (int(view[1]), int(view[0]))
        moved = cv2.warpAffine(pixels, matrix, target, flags=cv2.INTER_LINEAR,
                               borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        moved_marks = cv2.warpAffine(marks, matrix, target, flags=cv2.INTER_NEAREST,
                                     borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        return (np.asarray(moved, np.uint8).reshape(*self._view, -1),
                np.asarray(moved_marks, np.uint8))  # fmt: skip

    def _centre(
        self, marks: NDArray[np.uint8], view: NDArray[np.float64], size: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(row, column) that comes to lie in the middle of the view: mostly over a defect."""
        room = np.maximum(size - view, 0)
        if not room.any():
            return np.asarray(size / 2)
        low, high = np.minimum(view, size) / 2, size - np.minimum(view, size) / 2
        places = np.argwhere(marks >= SOMEWHERE)
        if not len(places):
            return self._rng.uniform(low, high + 1e-9)
        place = places[self._rng.integers(len(places))] + self._rng.uniform(-0.35, 0.35, 2) * view
        return np.asarray(np.clip(place, low, high))

    def _lit(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gain (the same factor up and down is as likely), a slope of light, offset, colour, noise."""
        augment, rng = self._augment, self._rng
        count, channels, height, width = image.shape
        low, high = augment.gain
        gain = np.exp(rng.uniform(math.log(low), math.log(high), (count, 1, 1, 1)))
        colour = rng.uniform(1 - augment.colour, 1 + augment.colour, (count, channels, 1, 1))
        rows = np.linspace(-1, 1, height)[:, None] * rng.uniform(-1, 1, (count, 1, 1, 1))
        columns = np.linspace(-1, 1, width)[None] * rng.uniform(-1, 1, (count, 1, 1, 1))
        slope = 1 + augment.slope * (rows + columns) / 2
        offset = rng.uniform(*augment.offset, (count, 1, 1, 1))
        sigma = rng.uniform(*augment.noise, (count, 1, 1, 1))
        noise = rng.standard_normal(image.shape, np.float32) * sigma
        lit = image * (gain * colour * slope) + offset + noise
        return np.asarray(np.clip(lit, 0, 255), np.float32)
