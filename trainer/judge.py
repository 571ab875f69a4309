"""Judges items with a bundle's model, through the same code that a device runs."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import GOOD, DatasetItem
from fleet_contract.inference.model import BundleModel
from fleet_contract.inference.preprocess import Frame
from fleet_contract.manifest import Manifest, ModelFile
from fleet_contract.names import Precision, Runtime, Verdict
from trainer.data.images import load_frame, load_mask
from trainer.data.store import Store

Key = tuple[Runtime, Precision]
PRIMARY: Key = (Runtime.ONNX, Precision.INT8)
"""The model whose figures stand first in an evaluation."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Items with their frames, decoded once for all models."""

    items: list[DatasetItem]
    frames: list[Frame]
    masks: list[NDArray[np.bool_] | None]
    """[height, width] at the graph's size; None where the defect's place is not known."""

    @property
    def defective(self) -> NDArray[np.bool_]:
        """[n] the truth."""
        return np.array([item.label != GOOD for item in self.items], np.bool_)


@dataclass(frozen=True, slots=True)
class Judged:
    """What one model said of the samples."""

    key: str
    """`runtime/precision`."""
    scores: NDArray[np.float64]
    rejected: NDArray[np.bool_]
    latency_ms: list[float]
    heat: list[NDArray[np.float32]]
    """Mask logits at the graph's size, [height, width] each."""


def load_samples(store: Store, items: list[DatasetItem], manifest: Manifest) -> Samples:
    """Frames and masks of `items`. Raises DataError for one that cannot be read."""
    spec, channels = manifest.preprocess, manifest.input.channels
    clean = np.zeros((spec.height, spec.width), np.bool_)
    masks = [
        clean if item.label == GOOD else load_mask(store, item.mask, spec) if item.mask else None
        for item in items
    ]
    return Samples(items, [load_frame(store, item, channels) for item in items], masks)


def judge(folder: Path, manifest: Manifest, file: ModelFile, samples: Samples) -> Judged:
    """Every sample through one model file of the bundle in `folder`, on one core.

    Raises ModelError for a model that fails, DataError for a frame that breaks the schema.
    """
    model = BundleModel(folder, manifest, file.runtime, file.precision)
    model.warm_up()
    results = [model.judge(frame) for frame in samples.frames]
    size = (manifest.preprocess.width, manifest.preprocess.height)
    return Judged(
        model.key,
        np.array([result.score for result in results], np.float64),
        np.array([result.verdict is Verdict.REJECT for result in results], np.bool_),
        [result.latency_ms for result in results],
        [_enlarged(result.mask_logits, size) for result in results],
    )


def _enlarged(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR), np.float32)
