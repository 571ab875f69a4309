"""The interface of a live camera: one that sends frames whether or not anybody looks."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import Frame


@dataclass(frozen=True, slots=True)
class Grab:
    """A frame that arrived, not decoded yet."""

    arrival_s: float
    """Monotonic seconds at which it reached this machine."""
    missed: int = 0
    """Frames that the camera sent before it, by its own counter, and that never came."""
    whole: bool = True
    """False where part of it was lost on its way: it cannot be retrieved."""


class Camera(Protocol):
    """One connection to a camera. Opened, read and closed by one thread, once."""

    def open(self) -> None:
        """Connects. Raises CameraLost."""

    def grab(self) -> Grab | None:
        """Waits for the next frame and keeps it undecoded; None where none came for a while.

        Raises CameraLost.
        """

    def retrieve(self) -> Frame:
        """Decodes the frame that was grabbed last. Raises DataError."""

    def close(self) -> None:
        """Lets go; also where it was never opened."""


@runtime_checkable
class Settable(Protocol):
    """A camera that can be set by recipe."""

    def use(self, recipe: str) -> bool:
        """Sets it by the recipe, '' as it is configured; whether the camera took all of it."""


def in_colours(image: NDArray[Any], channels: int) -> Frame:
    """RGB or grey from OpenCV's BGR ([h, w, 3]) or grey ([h, w]); depth is kept. Raises DataError."""
    if image.ndim != 2 and image.shape[2:] != (3,):
        raise DataError("a camera's picture is neither grey nor BGR", found=str(image.shape))
    if channels == 1:
        code = None if image.ndim == 2 else cv2.COLOR_BGR2GRAY
    else:
        code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
    turned: NDArray[Any] = image if code is None else cv2.cvtColor(image, code)
    return np.ascontiguousarray(turned)
