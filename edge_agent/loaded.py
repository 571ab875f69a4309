"""A bundle in memory, ready to judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2

from fleet_contract.archive import load_folder
from fleet_contract.board import Board
from fleet_contract.errors import BundleError, LoupeError
from fleet_contract.inference.model import BundleModel, Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.manifest import Manifest, Reference

FAILURES = (LoupeError, cv2.error, ValueError, MemoryError)
"""What judging may raise: the bundle's own errors, and those of the libraries below it."""


class Judge(Protocol):
    """What the inspection needs of a loaded model. Used by one thread."""

    manifest: Manifest

    def judge(self, frame: Frame, recipe: str = "", mm_per_pixel: float | None = None) -> Judgement:
        """`mm_per_pixel` is the station's own; None: the bundle's.

        Raises DataError for a frame that breaks the schema, UnknownRecipe, and ModelError for a
        model that fails."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A verified, loaded and warmed bundle."""

    digest: str
    model: Judge
    mean_score: float | None
    """Mean score of the bundle's reference; None where it has none."""


def load_bundle(
    folder: Path, digest: str, board: Board, uncalibrated: Sequence[str] = ()
) -> Loaded:
    """Checks every file, loads the model for the board, warms it up.

    `uncalibrated` are the station's cameras of which nobody knows how large a pixel is.

    Raises BundleError and ModelError.
    """
    manifest = load_folder(folder)
    check_scale(manifest, uncalibrated)
    model = BundleModel(folder, manifest, board.runtime, board.precision, threads=board.threads)
    model.warm_up()
    return Loaded(digest, model, _mean_score(folder / manifest.reference))


def check_scale(manifest: Manifest, uncalibrated: Sequence[str]) -> None:
    """Raises BundleError where limits in mm could not be held."""
    if uncalibrated and manifest.decision.needs_scale:
        raise BundleError(
            "the bundle limits defects in mm, and neither it nor this station knows the scale",
            expected=f"mm_per_pixel of {', '.join(uncalibrated)} in station.toml",
            remedy="Measure it: `loupe-agent calibrate IMAGE --pitch MM`.",
        )


def _mean_score(path: Path) -> float | None:
    try:
        reference = Reference.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{path.name} holds no reference statistics") from error
    return reference.window.score.histogram().mean()
