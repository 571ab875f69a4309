"""Label Studio's JSON from a version: brushes for pixels, rectangles for boxes, choices for labels alone.

`labeling.xml` is the labelling interface that a project needs for them. Images are named as Label
Studio serves them from a local folder.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from fleet_contract.dataset import GOOD
from trainer.data.formats.brush import brush_code
from trainer.data.formats.exported import Defect, Exported

TASKS, INTERFACE = "tasks.json", "labeling.xml"
_TAKEN = frozenset({"image", "group", "split"})


def write_labelstudio(out: Path, images: list[Exported]) -> None:
    """`tasks.json` and `labeling.xml` beside `images/`."""
    tasks = [_task(number, image) for number, image in enumerate(images, start=1)]
    (out / TASKS).write_text(json.dumps(tasks), encoding="utf-8")
    labels = {
        label
        for image in images
        for label in (
            image.item.label,
            *(d.label for d in image.defects),
            *image.item.appraisals.values(),
        )
    }
    (out / INTERFACE).write_text(_interface(sorted(labels - {GOOD})), encoding="utf-8")  # fmt: skip


def _task(number: int, image: Exported) -> dict[str, Any]:
    slices = {name if name not in _TAKEN else f"slice_{name}": value
              for name, value in image.item.slices.items()}  # fmt: skip
    people = [
        {"completed_by": {"email": person}, "ground_truth": False, "was_cancelled": False,
         "result": [_choice(label)]}
        for person, label in image.item.appraisals.items()
    ]  # fmt: skip
    truth = {"ground_truth": True, "was_cancelled": False, "result": _results(number, image)}
    return {
        "id": number,
        "data": {
            "image": f"/data/local-files/?d=images/{quote(image.name)}",
            "group": image.item.group,
            "split": image.item.split,
            **slices,
        },
        "annotations": [truth, *people],
    }


def _results(number: int, image: Exported) -> list[dict[str, Any]]:
    if image.item.label != GOOD and image.item.mask is None:
        return [_choice(image.item.label)]
    return [_mark(f"{number}-{index}", defect, image) for index, defect in enumerate(image.defects)]


def _choice(label: str) -> dict[str, Any]:
    return {"type": "choices", "from_name": "class", "to_name": "image",
            "value": {"choices": [label]}}  # fmt: skip


def _mark(name: str, defect: Defect, image: Exported) -> dict[str, Any]:
    width, height = image.size
    mark = {"id": name, "to_name": "image", "original_width": width, "original_height": height,
            "image_rotation": 0}  # fmt: skip
    if defect.pixels is not None:
        code = list(brush_code(defect.plane(image.size)))
        return mark | {"type": "brushlabels", "from_name": "pixels",
                       "value": {"format": "rle", "rle": code, "brushlabels": [defect.label]}}  # fmt: skip
    left, top, across, down = defect.box
    value = {"x": 100 * left / width, "y": 100 * top / height, "width": 100 * across / width,
             "height": 100 * down / height, "rotation": 0, "rectanglelabels": [defect.label]}  # fmt: skip
    return mark | {"type": "rectanglelabels", "from_name": "box", "value": value}


def _interface(labels: list[str]) -> str:
    marks = "".join(f"<Label value={quoteattr(label)}/>" for label in labels)
    choices = "".join(f"<Choice value={quoteattr(label)}/>" for label in (GOOD, *labels))
    return (
        '<View><Image name="image" value="$image" zoom="true"/>'
        f'<BrushLabels name="pixels" toName="image">{marks}</BrushLabels>'
        f'<RectangleLabels name="box" toName="image">{marks}</RectangleLabels>'
        f'<Choices name="class" toName="image">{choices}</Choices></View>\n'
    )
