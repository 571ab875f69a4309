"""From a frame to a graph's input tensor, as the manifest says; normalisation is inside the graph."""

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from fleet_contract.manifest import InputSchema, ModelFile, Preprocess

Frame = NDArray[np.uint8] | NDArray[np.uint16]
"""[height, width, 3] in RGB, or [height, width] in grey; 16 bits where the line's schema says so."""

_GREY_SIDE = 128
"""The mean grey level is that of a grid of about so many points a side."""
_INTERPOLATION = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}


def decode_image(data: bytes, channels: int, depth: Literal[8, 16] = 8) -> Frame:
    """A frame from encoded bytes (PNG, JPEG, BMP, TIFF): RGB for 3 channels, grey for 1.

    A note in the file that it be turned (EXIF) is ignored: masks and cameras know of none. Raises
    DataError where the bytes are no image of that depth.
    """
    colour = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    flags = colour | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    buffer = np.frombuffer(data, np.uint8)
    image = cv2.imdecode(buffer, flags) if buffer.size else None
    if image is None or image.dtype != f"uint{depth}":
        raise DataError(f"not an image of {depth} bits", expected="PNG, JPEG, BMP or TIFF",
                        found=f"{len(data)} bytes" if image is None else str(image.dtype))  # fmt: skip
    if channels == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if depth == 8:
        return np.ascontiguousarray(image, np.uint8)
    return np.ascontiguousarray(image, np.uint16)


def encode_png(frame: Frame) -> bytes:
    """Lossless PNG of a frame."""
    image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) if frame.ndim == 3 else frame
    return bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def check_frame(frame: Frame, schema: InputSchema) -> None:
    """Raises DataError where the frame is not what the bundle was made for."""
    channels = frame.shape[2] if frame.ndim == 3 else 1
    sides = frame.shape[:2]
    if frame.dtype != f"uint{schema.depth}" or channels != schema.channels:
        raise DataError(
            "the frame breaks the line's schema",
            expected=f"uint{schema.depth} with {schema.channels} channels",
            found=f"{frame.dtype} with {channels}",
            remedy="Set the camera's pixel format.",
        )
    if min(sides) < schema.min_side or max(sides) > schema.max_side:
        raise DataError(
            "the frame breaks the line's schema",
            expected=f"sides of {schema.min_side} to {schema.max_side} pixels",
            found=f"{sides[1]}x{sides[0]}",
            remedy="Set the camera's resolution or region of interest.",
        )
    _check_grey(frame, schema)


def _check_grey(frame: Frame, schema: InputSchema) -> None:
    low, high = schema.grey_range
    if (low, high) == (0.0, 255.0):
        return
    step = max(1, min(frame.shape[:2]) // _GREY_SIDE)
    grey = float(frame[::step, ::step].mean()) / 2 ** (schema.depth - 8)
    if not low <= grey <= high:
        raise DataError(
            "the frame breaks the line's schema",
            expected=f"a mean grey level of {low:g} to {high:g} of 255",
            found=f"{grey:.1f}",
            remedy="Look at the light, the lens cap, the exposure and the part's presence.",
        )


def preprocess(frame: Frame, spec: Preprocess) -> NDArray[np.uint8]:
    """uint8 [height, width, channels] of the canvas, channels in the graph's order."""
    pixels = to_8_bit(frame, spec.levels)
    height, width = spec.canvas
    if pixels.shape[:2] != (height, width):
        interpolation = _INTERPOLATION[spec.interpolation]
        resized = cv2.resize(pixels, (width, height), interpolation=interpolation)
        pixels = np.asarray(resized, np.uint8)
    if spec.channel_order == "bgr":
        pixels = pixels[:, :, ::-1]
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def to_8_bit(frame: Frame, levels: tuple[int, int] | None) -> NDArray[np.uint8]:
    """uint8 of the same shape: `levels` of a frame of 16 bits become 0 and 255, linearly."""
    if levels is None:
        return frame.astype(np.uint8, copy=False)
    low, high = levels
    scaled = (frame.astype(np.float32) - low) * (255.0 / max(high - low, 1))
    return np.asarray(np.rint(np.clip(scaled, 0, 255)), np.uint8)


def to_tensor(pixels: NDArray[np.uint8], model: ModelFile) -> NDArray[Any]:
    """[1, H, W, C] or [1, C, H, W] contiguous, in the model's dtype, values 0 to 255."""
    tensor = pixels[None]
    if model.layout == "nchw":
        tensor = tensor.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(tensor, dtype=model.dtype)
