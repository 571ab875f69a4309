"""Dataset items as arrays, preprocessed exactly as a device will preprocess frames."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import GOOD, DatasetItem
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import Frame, decode_image, preprocess
from fleet_contract.manifest import Preprocess
from trainer.data.store import Store


@dataclass(frozen=True, slots=True)
class Images:
    """Items in memory at the graph's size."""

    items: list[DatasetItem]
    pixels: NDArray[np.uint8]
    """[n, height, width, channels] uint8, channels in the graph's order."""
    masks: NDArray[np.bool_]
    """[n, height, width]; all False where the mask is unknown."""
    masked: NDArray[np.bool_]
    """[n]: whether the mask is known. A good image's is: it is empty."""
    defective: NDArray[np.bool_]
    """[n]."""

    def __len__(self) -> int:
        return len(self.items)

    def take(self, indices: NDArray[np.intp]) -> "Images":
        """Only those items."""
        items = [self.items[int(index)] for index in indices]
        return Images(items, self.pixels[indices], self.masks[indices], self.masked[indices],
                      self.defective[indices])  # fmt: skip


def load_frame(store: Store, item: DatasetItem, channels: int) -> Frame:
    """The item's image as a camera would give it. Raises DataError that names the item."""
    try:
        return decode_image(store.get(item.sha256), channels)
    except DataError as error:
        raise DataError(f"{item.source or item.sha256[:12]}: {error}") from error


def load_images(store: Store, items: list[DatasetItem], spec: Preprocess) -> Images:
    """All `items`, preprocessed by `spec`. Raises DataError for one that cannot be read."""
    channels = 1 if spec.channel_order == "grey" else 3
    pixels = np.empty((len(items), spec.height, spec.width, channels), np.uint8)
    masks = np.zeros((len(items), spec.height, spec.width), np.bool_)
    for index, item in enumerate(items):
        pixels[index] = preprocess(load_frame(store, item, channels), spec)
        if item.mask is not None:
            masks[index] = load_mask(store, item.mask, spec)
    defective = np.array([item.label != GOOD for item in items], np.bool_)
    known = np.array([item.mask is not None for item in items], np.bool_)
    return Images(items, pixels, masks, known | ~defective, defective)


def load_mask(store: Store, sha256: str, spec: Preprocess) -> NDArray[np.bool_]:
    """[height, width] bool at the graph's size; a cell that a defect touches is defective."""
    mask = decode_image(store.get(sha256), channels=1)
    resized = cv2.resize(mask, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized > 0, np.bool_)
