"""Dataset versions made image by image, so that a test can make exactly one thing wrong."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import DatasetItem, DatasetVersion, Region
from fleet_contract.inference.preprocess import encode_png
from tests.trainer.parts import draw
from trainer.data.store import Store

GOOD, BAD = 80, 40
"""Parts of a set that is large enough for nothing to be said of it."""


def put(store: Store, number: int, label: str = "good", **fields: Any) -> DatasetItem:
    """Part `p<number>` as a grey picture, with a mask where it is defective; fields are the item's.

    `image` and `masked` are other pictures, or other bytes, than those of the part.
    """
    mask = draw(number, None if label == "good" else label)[1]
    image = fields.pop("image", None)
    image = picture(number, label) if image is None else image
    masked = fields.pop("masked", mask if mask.any() else None)
    return DatasetItem.model_validate({
        "sha256": store.put(encoded(image)), "label": label,
        "mask": None if masked is None else store.put(encoded(masked)),
        "group": f"p{number}", "split": "holdout" if number % 2 else "train",
        "source": f"{number}.png", **fields,
    })  # fmt: skip


def picture(number: int, label: str = "good") -> NDArray[np.uint8]:
    """[64, 64] uint8: the part, with stains that no other part has."""
    drawn = draw(number, None if label == "good" else label)[0][..., 0].astype(np.float32)
    cells = np.random.default_rng(number).normal(0, 18, (8, 8)).astype(np.float32)
    stained = drawn + cv2.resize(cells, drawn.shape, interpolation=cv2.INTER_CUBIC)
    return np.asarray(stained.clip(0, 255), np.uint8)


def encoded(picture: NDArray[np.uint8] | bytes) -> bytes:
    """The bytes as they are, or a PNG file of the pixels."""
    return picture if isinstance(picture, bytes) else encode_png(picture)


def sound(store: Store) -> list[DatasetItem]:
    """Images of which every check says nothing: half of the parts held out."""
    good = [put(store, number) for number in range(GOOD)]
    return good + [put(store, number, "scratch") for number in range(GOOD, GOOD + BAD)]


def version_of(items: list[DatasetItem], **fields: Any) -> DatasetVersion:
    """A version of line `discs`, stored nowhere; sides are not checked."""
    shared: dict[str, Any] = {"line": "discs", "reason": "test", "channels": 1, "items": items}
    return DatasetVersion.model_construct(**{**shared, **fields})


def changed(items: list[DatasetItem], index: int, **fields: Any) -> list[DatasetItem]:
    """The items with one of them otherwise."""
    one = items[index].model_copy(update=fields)
    return [*items[:index], one, *items[index + 1 :]]


def region(label: str, *box: int) -> Region:
    """A marked defect whose pixels the mask shows."""
    left, top, width, height = box
    return Region(label=label, box=(left, top, width, height), exact=True)
