"""Measures of heat maps over all pixels, counted image by image, so that large ones fit in memory.

Heat becomes a code of 20 bits that keeps its order: the sign, exponent and leading 11 bits of the
mantissa of a float32. Two values less than 1 in 2,000 apart may share a code and count as a tie;
no range need be known before, and no image is kept.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.measures.ranking import precision_sum

Heat = NDArray[np.float32]
Mask = NDArray[np.bool_]

_BITS = 20
_CODES = 1 << _BITS
_COARSE_BITS = 16
_CHUNK = 1 << 22
"""Pixels that are counted at a time."""


@dataclass(frozen=True, slots=True)
class Sparse:
    """One image's counts, where there are any: codes of 16 bits, good and defective pixels."""

    codes: NDArray[np.uint16]
    good: NDArray[np.int64]
    bad: NDArray[np.int64]


@dataclass(slots=True)
class PixelCounts:
    """Counts over the images that were added. Heat is any increasing function of the probability."""

    good: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_CODES, np.int64))
    """Pixels without a defect, by code."""
    bad: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_CODES, np.int64))
    """Defective pixels, by code."""
    covered: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_CODES, np.float64))
    """Sum over defects of the share of the defect's pixels, by code."""
    components: int = 0
    images: list[Sparse | None] = field(default_factory=list)
    """One an image, in the order of adding; None where the place of the defect is not known."""

    def skip(self) -> None:
        """An image whose defects are somewhere, or that was not judged: it counts nowhere."""
        self.images.append(None)

    def add(self, heat: Heat, mask: Mask) -> None:
        """One image: heat [h, w] float32 and its defective pixels [h, w], of one size."""
        labels, areas = _components(mask)
        self.components += len(areas) - 1
        flat, owner = heat.reshape(-1), labels.reshape(-1)
        coarse = np.zeros((2, 1 << _COARSE_BITS), np.int64)
        for start in range(0, flat.size, _CHUNK):
            codes = codes_of(flat[start : start + _CHUNK])
            self._count(codes, owner[start : start + _CHUNK], areas, coarse)
        filled = np.flatnonzero(coarse.any(axis=0))
        self.images.append(Sparse(filled.astype(np.uint16), coarse[0, filled], coarse[1, filled]))

    def _count(
        self,
        codes: NDArray[np.uint32],
        owner: NDArray[np.int32],
        areas: NDArray[np.int64],
        coarse: NDArray[np.int64],
    ) -> None:
        inside = owner > 0
        defects = codes[inside]
        # An image has far fewer codes than there are: only those are touched.
        for side, chosen, total in ((0, codes[~inside], self.good), (1, defects, self.bad)):
            found, counts = np.unique(chosen, return_counts=True)
            total[found] += counts
            np.add.at(coarse[side], found >> (_BITS - _COARSE_BITS), counts)
        np.add.at(self.covered, defects, 1.0 / areas[owner[inside]])

    def average_precision(self) -> float | None:
        """Pixel AP over all images that were added; None without defective pixels."""
        hits, taken = _down(self.bad), _down(self.bad + self.good)
        if not hits[-1]:
            return None
        return precision_sum(hits[taken > 0], taken[taken > 0])

    def aupro(self, limit: float) -> float | None:
        """Area under the per-region overlap up to a false-positive rate of `limit`, divided by it.

        PRO(t) is the mean over connected defects C (8 neighbours) of |C and {s >= t}| / |C|; the
        rate is over all good pixels; linear between thresholds, interpolated at the limit
        (Bergmann et al. 2021). None without defects or without good pixels.
        """
        wrong = _down(self.good)
        if not self.components or not wrong[-1]:
            return None
        rate = np.concatenate([[0.0], wrong / wrong[-1]])
        overlap = np.concatenate([[0.0], _down(self.covered) / self.components])
        return _area(rate, overlap, limit)


def codes_of(heat: Heat) -> NDArray[np.uint32]:
    """[n] codes of 20 bits in the order of the values; not-a-number counts as the largest."""
    bits = (heat + np.float32(0)).view(np.uint32)  # -0 becomes 0
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    ordered[np.isnan(heat)] = 0xFFFFFFFF
    return np.asarray(ordered >> np.uint32(32 - _BITS), np.uint32)


def pixel_average_precision(heat: list[Heat], masks: list[Mask]) -> float | None:
    """Average precision over all pixels; None without defects. `heat` and `masks` are [h, w] each."""
    counts = PixelCounts()
    for one, mask in zip(heat, masks, strict=True):
        counts.add(one, mask)
    return counts.average_precision()


def _components(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """[h, w] number of each pixel's defect, 0 for none, and the area by number."""
    if not mask.any():
        return np.zeros(mask.shape, np.int32), np.array([mask.size], np.int64)
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    found = np.asarray(labels, np.int32)
    return found, np.bincount(found.reshape(-1)).astype(np.int64)


def _down(counts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Cumulated from the highest code down; counts are exact up to 2^53."""
    return np.cumsum(counts[::-1], dtype=np.float64)


def _area(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """Of the line through (x, y), x ascending from 0 to 1, between 0 and `limit`; over `limit`."""
    after = int(np.searchsorted(x, limit, side="right"))
    if after == len(x):
        return float(np.trapezoid(y, x) / limit)
    before = after - 1
    edge = y[before] + (y[after] - y[before]) * (limit - x[before]) / (x[after] - x[before])
    ends = np.append(x[:after], limit), np.append(y[:after], edge)
    return float(np.trapezoid(ends[1], ends[0]) / limit)
