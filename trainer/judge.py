"""Judges samples with a bundle's models, through the same code that a device runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from fleet_contract.inference.model import BundleModel, Judgement
from fleet_contract.inference.preprocess import Frame, decode_image
from fleet_contract.manifest import Manifest
from fleet_contract.names import Precision, Runtime, Verdict
from trainer.measures import PixelCounts
from trainer.samples import Samples

Key = tuple[Runtime, Precision]
PRIMARY: Key = (Runtime.ONNX, Precision.INT8)
"""The models whose figures stand first in an evaluation."""

Tick = Callable[[int, int], None]
"""Told (done, total) after every image of every model."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the models of one runtime and precision said of the samples."""

    key: str
    """`runtime/precision`."""
    scores: NDArray[np.float64]
    """[n]; not a number where there is no decision."""
    rejected: NDArray[np.bool_]
    """[n]; False where there is no decision."""
    latency_ms: list[float]
    """Of each decision."""
    refused: dict[int, str] = field(default_factory=dict)
    """By index: why there is no decision."""
    pixels: PixelCounts = field(default_factory=PixelCounts)
    """Of the heat at the frame's own size."""
    areas: list[int | None] = field(default_factory=list)
    """[n] defective pixels of each image; None where they are not known."""
    largest: tuple[int, int] = (0, 0)
    """Height and width of the largest frame."""

    @property
    def decided(self) -> NDArray[np.bool_]:
        """[n]: whether there is a decision."""
        return ~np.isnan(self.scores)


def keys_of(manifest: Manifest) -> list[Key]:
    """Every runtime and precision that the bundle has models for, in the manifest's order."""
    return list(dict.fromkeys((model.runtime, model.precision) for model in manifest.models))


def first_key(manifest: Manifest) -> Key:
    """`PRIMARY` where the bundle has it, else the first that it has."""
    keys = keys_of(manifest)
    return PRIMARY if PRIMARY in keys else keys[0]


def judge_all(
    folder: Path,
    manifest: Manifest,
    samples: Samples,
    keys: list[Key] | None = None,
    tick: Tick | None = None,
) -> list[Judged]:
    """Every sample through the models of each of `keys` (all, if None); see `judge`."""
    chosen = keys_of(manifest) if keys is None else keys
    total = len(chosen) * len(samples.items)
    result = []
    for place, key in enumerate(chosen):
        done = place * len(samples.items)

        def one_more(count: int, done: int = done) -> None:
            if tick is not None:
                tick(done + count, total)

        result.append(judge(folder, manifest, key, samples, one_more))
    return result


def judge(
    folder: Path,
    manifest: Manifest,
    key: Key,
    samples: Samples,
    tick: Callable[[int], None] | None = None,
) -> Judged:
    """Every sample through one runtime and precision of the bundle in `folder`, on one core.

    A frame that cannot be decoded or breaks the schema is no decision, as on a device. Raises
    ModelError for a model that fails, DataError for a file or mask that is not what it should be.
    """
    model = BundleModel(folder, manifest, *key)
    model.warm_up()
    count = len(samples.items)
    scores, rejected = np.full(count, np.nan), np.zeros(count, np.bool_)
    found = Judged(model.key, scores, rejected, [], areas=[None] * count)
    largest = (0, 0)
    for index in range(count):
        data = samples.image(index)
        try:
            frame = decode_image(data, manifest.input.channels, manifest.input.depth)
            judgement = model.judge(frame)
        except DataError as error:
            found.refused[index] = str(error)
            found.pixels.skip()
        else:
            scores[index] = judgement.score
            rejected[index] = judgement.verdict is Verdict.REJECT
            found.latency_ms.append(judgement.latency_ms)
            found.areas[index] = _count(found.pixels, samples, index, frame, judgement)
            largest = max(largest, (frame.shape[0], frame.shape[1]), key=lambda s: s[0] * s[1])
        if tick is not None:
            tick(index + 1)
    return Judged(found.key, scores, rejected, found.latency_ms, found.refused, found.pixels,
                  found.areas, largest)  # fmt: skip


def _count(
    pixels: PixelCounts, samples: Samples, index: int, frame: Frame, judgement: Judgement
) -> int | None:
    """Adds the heat of one frame; the area of its defects, None where it is not known."""
    size = (frame.shape[0], frame.shape[1])
    mask = samples.mask(index, size)
    if mask is None:
        pixels.skip()
        return None
    pixels.add(enlarged(judgement.mask_logits, size), mask)
    return int(mask.sum())


def enlarged(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """[height, width] float32: a map over the whole frame, at the frame's own size (bilinear)."""
    resized = cv2.resize(logits, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)
