"""Judges the images of a folder with the active bundle, beside the running agent."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_agent.loaded import Judge
from fleet_contract.errors import DataError, ModelError
from fleet_contract.inference.preprocess import decode_image
from fleet_contract.names import Verdict

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True, slots=True)
class Replayed:
    """One image."""

    file: str
    verdict: str
    score: float | None
    latency_ms: float
    reason: str = ""


def images(folder: Path) -> list[Path]:
    """The images of a folder in the order of their names. Raises DataError where there is none."""
    found = (
        sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if folder.is_dir()
        else []
    )
    if not found:
        raise DataError(f"no image in {folder}", expected=", ".join(sorted(SUFFIXES)))
    return found


def replay(
    model: Judge, paths: list[Path], recipe: str = "", mm_per_pixel: float | None = None
) -> Iterator[Replayed]:
    """Each image as the agent would judge it now."""
    schema = model.manifest.input
    for path in paths:
        start = time.perf_counter()
        try:
            frame = decode_image(path.read_bytes(), schema.channels, schema.depth)
            judgement = model.judge(frame, recipe, mm_per_pixel)
        except (DataError, ModelError, OSError) as error:
            yield Replayed(path.name, str(Verdict.NO_DECISION), None, _ms(start), str(error))
        else:
            yield Replayed(path.name, str(judgement.verdict), judgement.score, _ms(start))


def _ms(start: float) -> float:
    return round((time.perf_counter() - start) * 1e3, 3)


def summary(digest: str, threshold: float, rows: list[Replayed]) -> dict[str, Any]:
    """All of it as one object: bundle, threshold, counts by verdict, images."""
    counts = Counter(row.verdict for row in rows)
    return {
        "bundle": digest,
        "threshold": threshold,
        "counts": {str(verdict): counts[str(verdict)] for verdict in Verdict},
        "images": [asdict(row) for row in rows],
    }
