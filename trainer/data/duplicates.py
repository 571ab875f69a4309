"""Pictures that show the same part: alike but for light, noise and compression.

A thumbnail of 16x16 cells, less its mean and over its norm, does not move with gain and offset. What
all pictures of the set share (the fixture, the part's outline) is taken out, and what many share is
damped: the thumbnails are whitened by their covariance, regularised (by Cholesky's factor: Kessy, Lewin,
Strimmer 2018). The cosine of what is left compares what is each part's own.

Measured on 809 photographs of 166 magnetic tiles under six exposures: see "Near-duplicates" in
`docs/benchmarks.md`. Blind to parts that turn or move by more than a tenth of the picture, and, where
parts differ by their smallest details alone, to those.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.scan import thumbnail

THRESHOLD = 0.7
"""Cosine from which two pictures are near-duplicates."""
_DAMPING = 0.003
"""Share of the total variance that is added to that of every direction before whitening."""
_FEW = 10
"""So many pictures are needed before half of their mean is taken for what all of them share."""
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Pair:
    """Two near-duplicates, by index, `first` below `second`."""

    first: int
    second: int
    likeness: float
    """Cosine, up to 1."""


def embed(thumbnails: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """[n, d] float32 of length 1 (0 for a picture of one colour), from n thumbnails [16, 16]."""
    if not thumbnails:
        return np.zeros((0, 1), np.float32)
    flat = np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float64)
    flat = _unit(flat - flat.mean(axis=1, keepdims=True))
    blank = ~flat.any(axis=1)
    # The mean of few pictures is their own rather than the line's.
    flat -= flat.mean(axis=0) * len(flat) / (len(flat) + _FEW)
    spread = flat.T @ flat / len(flat)
    damped = spread + max(_DAMPING * float(np.trace(spread)), 1e-9) * np.eye(len(spread))
    whitened = np.linalg.solve(np.linalg.cholesky(damped), flat.T).T
    whitened[blank] = 0.0
    return np.asarray(_unit(whitened), np.float32)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-9, rows / np.maximum(length, 1e-9), 0.0)


def near_pairs(embedded: NDArray[np.float32], threshold: float = THRESHOLD) -> list[Pair]:
    """All pairs whose cosine is at least `threshold`, the most alike first."""
    pairs: list[Pair] = []
    for start in range(0, len(embedded), _BLOCK):
        cosines = embedded[start : start + _BLOCK] @ embedded.T
        for row, column in np.argwhere(cosines >= threshold):
            if start + row < column:
                likeness = float(cosines[row, column])
                pairs.append(Pair(int(start + row), int(column), likeness))
    return sorted(pairs, key=lambda pair: (-pair.likeness, pair.first, pair.second))


def clusters(count: int, pairs: Iterable[Pair]) -> list[int]:
    """[count] the smallest index that each is tied to through pairs (union-find)."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for pair in pairs:
        low, high = sorted((root(pair.first), root(pair.second)))
        parent[high] = low
    return [root(index) for index in range(count)]


def propose_groups(
    images: Iterable[NDArray[Any]], known: Sequence[str | None] | None = None
) -> list[str]:
    """A part's name for every image, where nobody wrote down which images show the same part.

    `images` (grey or colour, 8 or 16 bits, any size) are taken one by one, and only thumbnails kept.
    `known` holds, for each, the part that it belongs to, None where that is to be found: an image
    that is like one of a known part joins the part that it is most like; others make parts named
    `like-<10 hexadecimal digits>`, from their pictures alone.
    """
    thumbnails = [thumbnail(image) for image in images]
    pairs = near_pairs(embed(thumbnails))
    names = _joined(list(known) if known is not None else [None] * len(thumbnails), pairs)
    tied = clusters(len(names), [p for p in pairs if not (names[p.first] or names[p.second])])
    fresh: dict[int, str] = {}
    for index, root in enumerate(tied):
        name = hashlib.sha256(thumbnails[index].tobytes()).hexdigest()[:10]
        fresh[root] = min(fresh.get(root, name), name)
    return [name or f"like-{fresh[root]}" for name, root in zip(names, tied, strict=True)]


def _joined(names: list[str | None], pairs: list[Pair]) -> list[str | None]:
    """Names spread over pairs with one named side, the most alike first, until none is left."""
    while True:
        pair = next((p for p in pairs if bool(names[p.first]) != bool(names[p.second])), None)
        if pair is None:
            return names
        name = names[pair.first] or names[pair.second]
        names[pair.first] = names[pair.second] = name
