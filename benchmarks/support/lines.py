"""Drawn lines that differ from each other in what is hard about them, each with its own surface."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
"""[h, w, 3] float32, 0 to 255, BGR."""
Mask = NDArray[np.uint8]
"""[h, w] uint8, 255 where the defect is."""
Draw = Callable[[np.random.Generator, Picture, Mask], None]
"""Draws one defect into the picture and into its mask."""


@dataclass(frozen=True, slots=True)
class DrawnLine:
    """A product line: how its surface looks, what its defects are, and how many there are of each."""

    name: str
    side: int
    """Pixels."""
    surface: Callable[[np.random.Generator, int], Picture]
    defect: Draw
    good: int
    defective: int
    boxes: bool = False
    """Labelled by boxes (COCO) instead of masks."""


def brushed(rng: np.random.Generator, side: int) -> Picture:
    """Metal with fine lines along it, under light that falls off to one side."""
    grain = cv2.GaussianBlur(
        rng.normal(0, 60, (side, side)).astype(np.float32), (0, 0), 12, None, 0.7
    )
    return _lit(rng, 130 + grain * 3)


def woven(rng: np.random.Generator, side: int) -> Picture:
    """Cloth: two sets of threads that lie anywhere, at any angle."""
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 2)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    threads = np.sin(u * 0.8 + phase[0]) + np.sin(v * 0.8 + phase[1])
    return _lit(rng, 120 + 25 * threads + rng.normal(0, 5, (side, side)))


def mottled(rng: np.random.Generator, side: int) -> Picture:
    """Stone: soft spots of every size."""
    spots = sum(
        cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), scale)
        * scale
        * 20
        for scale in (1.5, 4.0, 10.0)
    )
    return _lit(rng, 140 + np.asarray(spots))


def _lit(rng: np.random.Generator, grey: NDArray[Any]) -> Picture:
    side = grey.shape[0]
    slope = np.linspace(-1, 1, side) * rng.uniform(-0.1, 0.1) + rng.uniform(0.85, 1.15)
    tint = np.array([0.9, 1.0, 1.05])
    return np.asarray((grey * slope)[..., None] * tint, np.float32)


def dot(rng: np.random.Generator, picture: Picture, mask: Mask) -> None:
    """Three to five pixels across."""
    _stain(rng, picture, mask, rng.uniform(1.5, 2.5), np.full(3, -70.0))


def scratch(rng: np.random.Generator, picture: Picture, mask: Mask) -> None:
    """Thin, bright, a tenth to a third of the picture long."""
    side = len(mask)
    start, angle = rng.uniform(0.2, 0.8, 2) * side, rng.uniform(0, 2 * np.pi)
    end = start + rng.uniform(0.1, 0.33) * side * np.array([np.cos(angle), np.sin(angle)])
    drawn = np.zeros_like(mask)
    cv2.line(drawn, start.astype(int).tolist(), end.astype(int).tolist(), 255, 2)
    mask |= drawn
    picture += cv2.GaussianBlur(drawn, (0, 0), 0.8)[..., None] * np.float32(0.2)


def tinge(rng: np.random.Generator, picture: Picture, mask: Mask) -> None:
    """Another hue of the same grey."""
    _stain(rng, picture, mask, len(mask) * rng.uniform(0.04, 0.1), np.array([40.0, -2.0, -11.0]))


def blotch(rng: np.random.Generator, picture: Picture, mask: Mask) -> None:
    """Dark, without an edge."""
    _stain(rng, picture, mask, len(mask) * rng.uniform(0.03, 0.08), np.full(3, -45.0))


def _stain(
    rng: np.random.Generator,
    picture: Picture,
    mask: Mask,
    radius: float,
    change: NDArray[np.float64],
) -> None:
    side = len(mask)
    centre = rng.uniform(2 * radius, side - 2 * radius, 2)
    y, x = np.mgrid[:side, :side]
    near = np.exp(-((((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (radius**2)) ** 2))
    mask[near > 0.4] = 255
    picture += (near[..., None] * change).astype(np.float32)


LINES = (
    DrawnLine("few pixels", 512, brushed, dot, 120, 60),
    DrawnLine("boxes", 256, brushed, scratch, 120, 60, boxes=True),
    DrawnLine("colour", 256, mottled, tinge, 120, 60),
    DrawnLine("1 to 50", 256, brushed, scratch, 400, 8),
    DrawnLine("20 defective", 256, mottled, blotch, 100, 20),
    DrawnLine("no fixed place", 256, woven, scratch, 120, 60),
)


def draw(line: DrawnLine, folder: Path, *, good: int, defective: int, seed: int) -> Path:
    """Writes PNGs and what is imported of them: `manifest.csv`, or with boxes `annotations.json`."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows, boxes = [], []
    for number in range(good + defective):
        picture, mask = line.surface(rng, line.side), np.zeros((line.side, line.side), np.uint8)
        bad = number >= good
        if bad:
            line.defect(rng, picture, mask)
            cv2.imwrite(str(folder / f"images/{number:04d}-mask.png"), mask)
        noisy = picture + rng.normal(0, 2, picture.shape)
        cv2.imwrite(str(folder / f"images/{number:04d}.png"), noisy.clip(0, 255).astype(np.uint8))
        rows.append({
            "image": f"images/{number:04d}.png", "mask": f"images/{number:04d}-mask.png" if bad else "",
            "defect": "defect" if bad else "", "group": f"part-{number:04d}",
        })  # fmt: skip
        boxes.append([int(value) for value in cv2.boundingRect(mask)] if bad else None)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return _coco(line, folder, rows, boxes) if line.boxes else folder / "manifest.csv"


def _coco(
    line: DrawnLine, folder: Path, rows: list[dict[str, str]], boxes: list[list[int] | None]
) -> Path:
    images = [{"id": number, "file_name": row["image"], "width": line.side, "height": line.side}
              for number, row in enumerate(rows)]  # fmt: skip
    marks = [{"id": number + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "bbox": box,
              "area": box[2] * box[3]}
             for number, box in enumerate(boxes) if box]  # fmt: skip
    document = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "defect"}]}
    path = folder / "annotations.json"
    path.write_text(json.dumps(document))
    return path
