"""The frames of a video file as pictures to replay."""

from pathlib import Path

import cv2

from edge_agent.source.camera import in_colours
from edge_agent.source.replay import PastEnd
from fleet_contract.errors import ConfigError
from fleet_contract.inference.preprocess import Frame


class Video:
    """A file that OpenCV's FFmpeg reads, read from its beginning.

    An index is reached by going through the frames before it: seeking lands on a neighbour in many
    formats, and the number of frames that a file claims is often wrong.
    """

    def __init__(self, path: Path, channels: int) -> None:
        """Raises ConfigError for a file without frames."""
        self._path, self._channels = path, channels
        self._capture = self._opened()
        self._next = 0
        if not self._capture.grab():
            raise self._refused()
        self._rewind()

    def _opened(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise self._refused()
        return capture

    def _refused(self) -> ConfigError:
        return ConfigError(
            f"no video in {self._path}", expected="a file that FFmpeg reads",
            remedy="Check source.path.",
        )  # fmt: skip

    def _rewind(self) -> None:
        self._capture.release()
        self._capture = self._opened()
        self._next = 0

    def picture(self, index: int) -> Frame | None:
        if index < self._next:
            self._rewind()
        while self._next <= index:
            if not self._capture.grab():
                raise PastEnd(self._next)
            self._next += 1
        ok, image = self._capture.retrieve()
        return in_colours(image, self._channels) if ok else None

    def close(self) -> None:
        self._capture.release()
