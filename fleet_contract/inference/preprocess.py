"""From a frame to a graph's input tensor, as the manifest says; normalisation is inside the graph."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from fleet_contract.manifest import InputSchema, ModelFile, Preprocess

Frame = NDArray[np.uint8]
"""uint8 [height, width, 3] in RGB, or [height, width] in grey."""

_INTERPOLATION = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}


def decode_image(data: bytes, channels: int) -> Frame:
    """A frame from encoded bytes (PNG, JPEG, BMP, TIFF): RGB for 3 channels, grey for 1.

    Raises DataError where the bytes are no 8-bit image.
    """
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    buffer = np.frombuffer(data, np.uint8)
    image = cv2.imdecode(buffer, flag) if buffer.size else None
    if image is None or image.dtype != np.uint8:
        raise DataError("not an 8-bit image", expected="PNG, JPEG, BMP or TIFF",
                        found=f"{len(data)} bytes")  # fmt: skip
    if channels == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(image)


def encode_png(frame: Frame) -> bytes:
    """Lossless PNG of a frame."""
    image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) if frame.ndim == 3 else frame
    return bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def check_frame(frame: Frame, schema: InputSchema) -> None:
    """Raises DataError where the frame is not what the bundle was made for."""
    channels = frame.shape[2] if frame.ndim == 3 else 1
    sides = frame.shape[:2]
    if frame.dtype != np.uint8 or channels != schema.channels:
        raise DataError(
            "the frame breaks the line's schema",
            expected=f"uint8 with {schema.channels} channels",
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


def preprocess(frame: Frame, spec: Preprocess) -> NDArray[np.uint8]:
    """uint8 [height, width, channels] at the graph's size, channels in the graph's order."""
    if frame.shape[:2] != (spec.height, spec.width):
        frame = cv2.resize(  # type: ignore[assignment]
            frame, (spec.width, spec.height), interpolation=_INTERPOLATION[spec.interpolation]
        )
    if spec.channel_order == "bgr":
        frame = frame[:, :, ::-1]
    return frame if frame.ndim == 3 else frame[:, :, None]


def to_tensor(pixels: NDArray[np.uint8], model: ModelFile) -> NDArray[Any]:
    """[1, H, W, C] or [1, C, H, W] contiguous, in the model's dtype, values 0 to 255."""
    tensor = pixels[None]
    if model.layout == "nchw":
        tensor = tensor.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(tensor, dtype=model.dtype)
