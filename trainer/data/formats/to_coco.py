"""COCO's JSON from a version: pixels as run lengths in text, boxes where no pixels are known."""

import json
from pathlib import Path
from typing import Any

from trainer.data.formats.exported import Defect, Exported
from trainer.data.formats.rle import counts_text, runs

ANNOTATIONS = "annotations.json"
_TAKEN = frozenset({"id", "file_name", "width", "height", "group", "split"})


def write_coco(out: Path, images: list[Exported]) -> None:
    """`annotations.json` beside `images/`. Part, side and slices stand with each image."""
    labels = sorted({defect.label for image in images for defect in image.defects})
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        for defect in image.defects:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id,
                 "category_id": numbers[defect.label], **_place(defect, image)}
            )  # fmt: skip
    document = {
        "images": [_image(number, image) for number, image in enumerate(images, start=1)],
        "categories": [{"id": number, "name": label} for label, number in numbers.items()],
        "annotations": annotations,
    }
    (out / ANNOTATIONS).write_text(json.dumps(document), encoding="utf-8")


def _image(number: int, image: Exported) -> dict[str, Any]:
    width, height = image.size
    slices = {name if name not in _TAKEN else f"slice_{name}": value
              for name, value in image.item.slices.items()}  # fmt: skip
    return {"id": number, "file_name": image.name, "width": width, "height": height,
            "group": image.item.group, "split": image.item.split, **slices}  # fmt: skip


def _place(defect: Defect, image: Exported) -> dict[str, Any]:
    # 1: by COCO's convention a mask of run lengths is a crowd; its own tools draw it so.
    left, top, width, height = defect.box
    place = {"bbox": [left, top, width, height]}
    if defect.pixels is None:
        return {**place, "area": width * height, "iscrowd": 0}
    counts = counts_text(runs(defect.plane(image.size)))
    return {**place, "area": int(defect.pixels.sum()), "iscrowd": 1,
            "segmentation": {"size": [image.size[1], image.size[0]], "counts": counts}}  # fmt: skip
