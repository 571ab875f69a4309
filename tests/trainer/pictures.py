"""Pictures for the tiny bundle, whose score is the mean red and whose heat is the red of a pixel."""

import csv
from pathlib import Path

import cv2
import numpy as np

SIZE = (48, 64)
"""Height and width."""
COLUMNS = ["image", "mask", "defect", "part", "site", "appraiser:anna", "appraiser:ben"]


def write_picture(folder: Path, name: str, columns: int, seed: int = 0) -> None:
    """NAME.png, red on the left `columns`, and its mask NAME_mask.png."""
    rng = np.random.default_rng([seed, columns])
    image = np.full((*SIZE, 3), 60.0) + rng.normal(0, 4, (*SIZE, 3))
    image[:, :columns, 0] += 170
    mask = np.zeros(SIZE, np.uint8)
    mask[:, :columns] = 255
    folder.mkdir(parents=True, exist_ok=True)
    pixels = image.clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(folder / f"{name}.png"), pixels[..., ::-1])
    cv2.imwrite(str(folder / f"{name}_mask.png"), mask)


def write_holdout(folder: Path, *, good: int = 12, found: int = 8, missed: int = 4) -> Path:
    """A CSV of good parts, half-red ones that the tiny bundle rejects, and narrow ones it misses."""
    rows = []
    kinds = ["good"] * good + ["wide"] * found + ["narrow"] * missed
    widths = {"good": 0, "wide": 40, "narrow": 12}
    for number, kind in enumerate(kinds):
        name = f"{kind}_{number:03d}"
        write_picture(folder, name, widths[kind] + number % 3 * (kind != "good"), number)
        rows.append({
            "image": f"{name}.png", "mask": f"{name}_mask.png" if kind != "good" else "",
            "defect": kind if number % 2 or kind != "good" else "", "part": f"p{number}",
            "site": "north" if number % 2 else "south",
            "appraiser:anna": kind, "appraiser:ben": "good" if kind == "narrow" else kind,
        })  # fmt: skip
    return write_rows(folder / "holdout.csv", rows)


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    """A CSV file with the columns of the first row."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
