"""Cameras of the kernel (Video4Linux2), such as USB cameras: frames by OpenCV, controls by ioctl.

OpenCV's properties do not reach all controls, and translate some differently from version to version.
"""

import fcntl
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import cv2

from edge_agent.source.base import CameraLost
from edge_agent.source.camera import Grab
from edge_agent.source.controls import ControlError, Name
from edge_agent.source.opencv import OpenCvCamera
from edge_agent.source.settings import V4l2Source
from fleet_contract.clock import Clock
from fleet_contract.inference.preprocess import Frame

_GET, _SET = 0xC008561B, 0xC008561C
"""VIDIOC_G_CTRL and VIDIOC_S_CTRL of videodev2.h: struct v4l2_control is u32 id, s32 value."""
_USER, _CAMERA = 0x00980900, 0x009A0900
_IDS: dict[Name, int] = {
    "auto_exposure": _CAMERA + 1, "exposure": _CAMERA + 2, "dynamic_framerate": _CAMERA + 3,
    "focus": _CAMERA + 10, "auto_focus": _CAMERA + 12, "auto_white_balance": _USER + 12,
    "auto_gain": _USER + 18, "gain": _USER + 19, "white_balance": _USER + 26,
}  # fmt: skip
"""By v4l2-controls.h."""
_MANUAL, _APERTURE_PRIORITY = 1, 3
"""V4L2_EXPOSURE_MANUAL; what USB cameras take for automatic."""
_EXPOSURE_UNIT_S = 1e-4


def to_device(name: Name, value: float) -> int:
    """A control's value in the kernel's units."""
    if name == "auto_exposure":
        return _APERTURE_PRIORITY if value else _MANUAL
    return round(value / _EXPOSURE_UNIT_S) if name == "exposure" else round(value)


def from_device(name: Name, value: int) -> float:
    """The inverse of `to_device`."""
    if name == "auto_exposure":
        return float(value != _MANUAL)
    return value * _EXPOSURE_UNIT_S if name == "exposure" else float(value)


class V4l2Camera:
    """One device file."""

    def __init__(self, config: V4l2Source, clock: Clock) -> None:
        self._config = config
        self._capture = OpenCvCamera(
            config.device, config.device, cv2.CAP_V4L2, (), config.channels, clock
        )
        self._file: int | None = None

    def open(self) -> None:
        device = self._config.device
        try:
            self._file = os.open(device, os.O_RDWR | os.O_NONBLOCK)
        except FileNotFoundError as error:
            there = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*")))
            raise CameraLost(f"{device} is not there; there is {there or 'none'}") from error
        except PermissionError as error:
            raise CameraLost(
                f"{device} may not be opened: the agent's user belongs into the group video"
            ) from error
        except OSError as error:
            raise CameraLost(str(error)) from error
        self._capture.open()
        self._set_mode()

    def _set_mode(self) -> None:
        """Asks for the configured mode. Raises CameraLost for a camera that gives another one."""
        config, capture = self._config, self._capture
        wanted = {
            cv2.CAP_PROP_FOURCC: code(config.format) if config.format else None,
            cv2.CAP_PROP_FRAME_WIDTH: config.width,
            cv2.CAP_PROP_FRAME_HEIGHT: config.height,
        }
        for which, value in wanted.items():
            if value is not None:
                capture.ask(which, value)
        if config.rate is not None:
            capture.ask(cv2.CAP_PROP_FPS, config.rate)
        found = {which: round(capture.property(which)) & 0xFFFFFFFF for which in wanted}
        if any(value not in (None, found[which]) for which, value in wanted.items()):
            raise CameraLost(
                f"{config.device} has no such mode: asked for {_mode(wanted)}, it gives {_mode(found)}"
            )

    def grab(self) -> Grab | None:
        return self._capture.grab()

    def retrieve(self) -> Frame:
        return self._capture.retrieve()

    def close(self) -> None:
        self._capture.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def set_control(self, name: Name, value: float) -> None:
        self._control(_SET, name, to_device(name, value))

    def get_control(self, name: Name) -> float:
        return from_device(name, self._control(_GET, name, 0))

    def _control(self, request: int, name: Name, value: int) -> int:
        assert self._file is not None
        try:
            answer = fcntl.ioctl(self._file, request, struct.pack("=Ii", _IDS[name], value))
        except OSError as error:
            raise ControlError(os.strerror(error.errno or 0)) from error
        found: int = struct.unpack("=Ii", answer)[1]
        return found


def code(letters: str) -> int:
    """The kernel's number of a pixel format's four letters."""
    return int.from_bytes(letters.encode("ascii"), "little")


def _mode(values: Mapping[int, int | None]) -> str:
    letters, width, height = values.values()
    form = "any format" if letters is None else letters.to_bytes(4, "little").decode("latin-1")
    return f"{form}, {'any size' if width is None else f'{width}x{height}'}"
