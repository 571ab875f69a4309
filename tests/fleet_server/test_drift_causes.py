"""What drifted: told apart on rendered parts through the camera's own controls."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fleet_contract.inference.accumulate import WindowAccumulator
from fleet_contract.inference.features import frame_statistics
from fleet_server.drift.causes import attribute
from fleet_server.drift.rules import (
    Moved,
    Reference,
    Tracked,
    alarming,
    features_of,
    movements,
    references,
    step,
)
from hil.camera.optics import CameraSettings, expose
from hil.render.part import render_part
from hil.render.spec import PartSpec

THRESHOLD = 5.9
FRAMES, WINDOWS, PARTS = 5, 20, 100
NORMAL = CameraSettings()
Picture = NDArray[np.uint8]


class Line:
    """A station whose camera can be turned; its baseline is taken when it is made."""

    def __init__(self) -> None:
        self._parts = [render_part(PartSpec(seed=3, number=n)).image for n in range(PARTS)]
        self._rng = np.random.default_rng(3)
        self._first: NDArray[np.float32] | None = None
        self._next = 0
        self.baseline = references([self.window(NORMAL) for _ in range(WINDOWS)])

    def window(self, settings: CameraSettings) -> dict[str, float]:
        """Features of the next window."""
        window = WindowAccumulator("line", "camera", None, 0.0)
        for _ in range(FRAMES):
            part = self._parts[self._next % PARTS]
            self._next += 1
            found = frame_statistics(expose(part, settings, self._rng), self._first)
            self._first = found.grey if self._first is None else self._first
            window.frame(found)
        return features_of(window.close(1.0))


@pytest.fixture(scope="module")
def line() -> Line:
    return Line()


def cause(line: Line, settings: CameraSettings, windows: int = 25) -> str | None:
    tracked: dict[str, Tracked] = {}
    for _ in range(windows):
        tracked = step(line.baseline, tracked, line.window(settings), FRAMES)
        moved = movements(line.baseline, tracked)
        if alarming(moved, THRESHOLD) and (found := attribute(moved, THRESHOLD)):
            return found
    return None


@pytest.mark.parametrize(
    ("expected", "settings"),
    [
        (None, NORMAL),
        ("light", replace(NORMAL, light_level=0.85)),
        ("light", replace(NORMAL, light_level=0.55)),
        ("light", replace(NORMAL, light_level=1.3)),
        ("light", replace(NORMAL, light_colour_k=4000)),
        ("focus", replace(NORMAL, focus_blur_px=2.0)),
        ("dirt", replace(NORMAL, dirt=0.5)),
        ("camera", replace(NORMAL, shift_x_px=6, shift_y_px=-4)),
        ("noise", replace(NORMAL, noise=3.0)),
    ],
)
def test_the_cause_is_right(line: Line, expected: str | None, settings: CameraSettings) -> None:
    assert cause(line, settings) == expected


def moved(**strengths: float) -> Mapping[str, Moved]:
    quiet = Reference(0.0, 1.0, 0.0, 30)
    names = {"mean": 0.1, "sharpness": 0.2, "score": 0.0, "rejects": 0.0, **strengths}
    return {name: Moved(t, t * quiet.scale(), 0.0, 8) for name, t in names.items()}


def test_a_score_that_moves_alone_is_the_model() -> None:
    assert attribute(moved(score=6.5), THRESHOLD) == "model"


def test_a_score_that_moves_with_the_rejects_is_the_product() -> None:
    assert attribute(moved(score=6.5, rejects=4.0), THRESHOLD) == "mix"


def test_nobody_is_blamed_while_the_picture_is_stirring() -> None:
    assert attribute(moved(score=6.5, mean=2.5), THRESHOLD) is None


def test_a_shift_of_a_fraction_of_a_pixel_is_no_moved_camera() -> None:
    strong = dict(moved(mean=21.0, shift_x=4.0))
    strong["shift_x"] = Moved(4.0, 0.7, 0.1, 8)
    assert attribute(strong, THRESHOLD) == "light"
    strong["shift_x"] = Moved(4.0, 0.7, 2.0, 8)
    assert attribute(strong, THRESHOLD) == "camera"
