"""Pairs: images in `images/`, masks in `masks/` by the same stem or with `_mask` behind it."""

from collections.abc import Iterator
from pathlib import Path

from fleet_contract.errors import DataError
from trainer.data.formats.folders import MASKS, mask_beside
from trainer.data.formats.reading import Reading, Row, by_stem, images_below, side_of
from trainer.data.formats.shapes import MaskFile

IMAGES = "images"
_DEFECT = "defect"


def read_pairs(reading: Reading) -> Iterator[Row]:
    """Rows of a folder of pairs: an image with an empty mask, or with none, is good."""
    images, masks = reading.path / IMAGES, reading.path / MASKS
    for path in (images, masks):
        if not path.is_dir():
            raise DataError(f"{reading.path} is no folder of image and mask pairs",
                            expected=f"{IMAGES}/ and {MASKS}/", found=f"no {path.name}/")  # fmt: skip
    found = images_below(images)
    used: set[Path] = set()
    for folder in sorted({image.parent for image in found}):
        by_stem([image for image in found if image.parent == folder], reading.findings)
    for image in found:
        mask = mask_beside(masks, image, images)
        if mask in used:
            with reading.findings.gather():
                raise DataError(f"mask {mask} fits more than one image, {image} among them",
                                remedy=f"Put it below {masks} as the image is below {images}.")  # fmt: skip
        used |= {mask} if mask is not None else set()
        shapes = () if mask is None else (MaskFile(_DEFECT, mask),)
        side = side_of(*image.relative_to(images).parts[:-1])
        yield Row(image, reading.name_of(image), None, shapes, side=side)
    _refuse_lonely(reading, sorted(set(images_below(masks)) - used))


def _refuse_lonely(reading: Reading, masks: list[Path]) -> None:
    for mask in masks:
        with reading.findings.gather():
            raise DataError(f"mask {mask} has no image", expected=f"an image of its stem in {IMAGES}/",
                            remedy="Add the image, or remove the mask.")  # fmt: skip
