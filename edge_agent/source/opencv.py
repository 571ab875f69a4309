"""Cameras that OpenCV reads; RTSP by its FFmpeg."""

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

import cv2

from edge_agent.source.base import CameraLost
from edge_agent.source.camera import Grab, in_colours
from fleet_contract.clock import Clock
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import Frame

_FFMPEG = {
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "rtsp_transport;tcp",
    # It would write a line for each attempt at a camera that is away; the loss is told once.
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
}
"""OpenCV takes FFmpeg's options from the environment alone."""


class OpenCvCamera:
    """`name` stands for it in messages; `settings` are OpenCV's pairs of property and value."""

    def __init__(
        self, target: str, name: str, backend: int, settings: Sequence[int], channels: int,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._target, self._name, self._backend = target, name, backend
        self._settings, self._channels, self._clock = settings, channels, clock
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> None:
        try:
            capture = cv2.VideoCapture(self._target, self._backend, self._settings)
        except cv2.error as error:
            raise CameraLost(f"{self._name} cannot be opened: {error}") from error
        self._capture = capture
        if not capture.isOpened():
            raise CameraLost(f"{self._name} cannot be opened")

    def grab(self) -> Grab | None:
        assert self._capture is not None
        if not self._capture.grab():
            raise CameraLost(f"{self._name} sends nothing any more")
        return Grab(self._clock.monotonic())

    def retrieve(self) -> Frame:
        assert self._capture is not None
        ok, image = self._capture.retrieve()
        if not ok:
            raise DataError(f"{self._name} sent a frame that cannot be decoded")
        return in_colours(image, self._channels)

    def ask(self, which: int, value: float) -> None:
        """Sets one of OpenCV's properties; the device may make something else of it."""
        assert self._capture is not None
        self._capture.set(which, value)

    def property(self, which: int) -> float:
        """One of OpenCV's properties, once it is open."""
        assert self._capture is not None
        return self._capture.get(which)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()


def rtsp_camera(url: str, channels: int, timeout_s: float, clock: Clock) -> OpenCvCamera:
    """RTSP with its media over TCP: what UDP loses shows as smeared pictures that look whole."""
    os.environ.update(_FFMPEG)
    limit_ms = round(timeout_s * 1e3)
    settings = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, max(limit_ms, 5000), cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms,
    ]  # fmt: skip
    parts = urlsplit(url)
    name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return OpenCvCamera(url, name, cv2.CAP_FFMPEG, settings, channels, clock)
