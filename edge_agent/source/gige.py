"""GigE Vision cameras. Packets that are lost for good leave a frame that is not whole: it is counted,
and is a part without a picture."""

import cv2
import numpy as np

from edge_agent.source.aravis import Aravis, Buffer, Handle
from edge_agent.source.base import CameraLost
from edge_agent.source.camera import Grab, in_colours
from edge_agent.source.controls import ControlError, Name
from edge_agent.source.settings import GigeSource
from fleet_contract.clock import Clock
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import Frame

_BUFFERS = 8
_WAIT_S = 0.1
_PING_S = 0.5
_LAST_ID = 0xFFFF
MONO = {0x01080001: np.uint8, 0x01100003: np.uint16, 0x01100005: np.uint16, 0x01100007: np.uint16}
"""Mono8, Mono10, Mono12, Mono16 of the Pixel Format Naming Convention, unpacked."""
BAYER = {
    0x01080008: cv2.COLOR_BayerGRBG2BGR, 0x01080009: cv2.COLOR_BayerRGGB2BGR,
    0x0108000A: cv2.COLOR_BayerGBRG2BGR, 0x0108000B: cv2.COLOR_BayerBGGR2BGR,
}  # fmt: skip
"""BayerGR8, BayerRG8, BayerGB8, BayerBG8."""
RGB8, BGR8 = 0x02180014, 0x02180015


def missed_frames(last: int | None, now: int) -> int:
    """Frames between two of the camera's numbers, of 16 bits without 0, or of 64 bits."""
    if last is None:
        return 0
    step = now - last if now > last else now + _LAST_ID - last
    # Beyond half of the numbers it began anew rather than lost that many.
    return step - 1 if 0 < step < _LAST_ID // 2 else 0


class GigeCamera:
    """A camera by its address (or Aravis's name for it); `line`: its input that triggers frames."""

    def __init__(self, aravis: Aravis, config: GigeSource, line: str | None, clock: Clock) -> None:
        self._aravis, self._config, self._line, self._clock = aravis, config, line, clock
        self._handle: Handle | None = None
        self._buffer: Buffer | None = None
        self._last_id: int | None = None
        self._ping_s = 0.0

    def open(self) -> None:
        config = self._config
        try:
            handle = self._handle = Handle(self._aravis, config.address)
            if config.pixel_format is not None:
                handle.do("set_pixel_format_from_string", config.pixel_format.encode())
            if config.region is not None:
                handle.do("set_region", *config.region)
            handle.do("clear_triggers")
            if self._line is not None:
                handle.do("set_trigger", self._line.encode())
            elif config.rate is not None:
                handle.do("set_frame_rate", config.rate)
            handle.start(_BUFFERS)
        except CameraLost as error:
            raise CameraLost(f"GigE camera {config.address}: {error}") from error

    def grab(self) -> Grab | None:
        assert self._handle is not None
        if self._buffer is not None:
            self._handle.push(self._buffer)
        self._buffer = self._handle.pop(_WAIT_S)
        now_s = self._clock.monotonic()
        if self._buffer is None:
            self._ping(now_s)
            return None
        frame_id = self._buffer.frame_id
        missed, self._last_id = missed_frames(self._last_id, frame_id), frame_id
        return Grab(now_s, missed, self._buffer.whole)

    def _ping(self, now_s: float) -> None:
        """While nothing comes: whether the camera is there, and ours."""
        assert self._handle is not None
        if now_s < self._ping_s + _PING_S:
            return
        self._ping_s = now_s
        if not self._handle.controlled():
            raise CameraLost(
                f"GigE camera {self._config.address} was restarted, or another program took it"
            )

    def retrieve(self) -> Frame:
        assert self._buffer is not None
        return to_frame(
            self._buffer.bytes(), self._buffer.size, self._buffer.pixel_format,
            self._config.channels,
        )  # fmt: skip

    def close(self) -> None:
        if self._handle is not None:
            self._handle.close()

    # Controls.

    def set_control(self, name: Name, value: float) -> None:
        assert self._handle is not None
        try:
            if name == "exposure":
                self._handle.do("set_exposure_time", value * 1e6)
            elif name == "gain":
                self._handle.do("set_gain", value)
            else:
                self._handle.do("set_string", _automatic(name), b"Continuous" if value else b"Off")
        except CameraLost as error:
            raise ControlError(str(error)) from error

    def get_control(self, name: Name) -> float:
        assert self._handle is not None
        try:
            if name == "exposure":
                return float(self._handle.do("get_exposure_time")) / 1e6
            if name == "gain":
                return float(self._handle.do("get_gain"))
            return float(self._handle.do("get_string", _automatic(name)) != b"Off")
        except CameraLost as error:
            raise ControlError(str(error)) from error


_AUTOMATICS: dict[Name, bytes] = {
    "auto_exposure": b"ExposureAuto",
    "auto_gain": b"GainAuto",
    "auto_white_balance": b"BalanceWhiteAuto",
}
"""By the names of GenICam's standard features."""


def _automatic(name: Name) -> bytes:
    feature = _AUTOMATICS.get(name)
    if feature is None:
        raise ControlError("GigE Vision has no standard feature for it")
    return feature


def to_frame(
    pixels: "np.ndarray[tuple[int], np.dtype[np.uint8]]",
    size: tuple[int, int],
    pixel_format: int,
    channels: int,
) -> Frame:
    """RGB or grey from a buffer's bytes. Raises DataError for a format that is not known."""
    height, width = size
    try:
        if pixel_format in MONO:
            grey = pixels.view(MONO[pixel_format])[: height * width].reshape(height, width)
            return in_colours(grey, channels).copy()
        if pixel_format in BAYER:
            raw = pixels[: height * width].reshape(height, width)
            return in_colours(cv2.cvtColor(raw, BAYER[pixel_format]), channels)
        if pixel_format in (RGB8, BGR8):
            colours = pixels[: height * width * 3].reshape(height, width, 3)
            return in_colours(colours if pixel_format == BGR8 else colours[:, :, ::-1], channels)
    except (ValueError, cv2.error) as error:
        raise DataError(f"a GigE buffer of {pixels.size} bytes for {width}x{height}") from error
    raise DataError(
        "a GigE camera's pixel format is not known", expected="Mono8 to 16, Bayer 8, RGB8 or BGR8",
        found=f"{pixel_format:#010x}", remedy="Set source.pixel_format.",
    )  # fmt: skip
