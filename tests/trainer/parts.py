"""Small pictures of parts with defects, made in the test: grey discs with a blue mark."""

import csv
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 64
DEFECTS = ("scratch", "stain")


def draw(number: int, defect: str | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """[64, 64, 3] uint8 RGB and its mask [64, 64], 0 or 255; another part for another number."""
    rng = np.random.default_rng([number, 11])
    image = rng.normal(60, 3, (SIDE, SIDE, 3))
    cv2.circle(image, (32, 32), 26, (170, 168, 165), -1)
    image += rng.normal(0, 4, (SIDE, SIDE, 1))
    angle = rng.uniform(0, 2 * np.pi)
    spot = (int(32 + 14 * np.cos(angle)), int(32 + 14 * np.sin(angle)))
    cv2.circle(image, spot, 5, (40, 70, 200), -1)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    place = rng.integers(20, 44, 2)
    if defect == "scratch":
        end = place + rng.integers(8, 14, 2) * rng.choice([-1, 1], 2)
        for canvas, colour in ((image, (70, 70, 70)), (mask, (255,))):
            cv2.line(canvas, place.tolist(), end.tolist(), colour, 2)
    elif defect == "stain":
        for canvas, colour in ((image, (190, 90, 40)), (mask, (255,))):
            cv2.circle(canvas, place.tolist(), int(rng.integers(4, 7)), colour, -1)
    return image.clip(0, 255).astype(np.uint8), mask


def write_csv(folder: Path, good: int, bad: int, *, masks: bool = True) -> Path:
    """manifest.csv with `good` good parts and `bad` of each class of defect; returns its path."""
    rows = []
    kinds: list[str | None] = [None] * good + [kind for kind in DEFECTS for _ in range(bad)]
    for number, kind in enumerate(kinds):
        image, mask = draw(number, kind)
        name = f"part_{number:03d}.png"
        write_image(folder / "images" / name, image)
        if kind and masks:
            write_image(folder / "masks" / name, mask)
        rows.append({
            "image": f"images/{name}", "mask": f"masks/{name}" if kind and masks else "",
            "label": kind or "good", "group": f"p{number}", "shift": "day" if number % 2 else "night",
        })  # fmt: skip
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """PNG; RGB or grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
