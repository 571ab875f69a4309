"""A part as a picture for a person: the frame, its heat map over it, its verdict in a frame's colour."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.box.lately import Seen
from fleet_contract.inference.preprocess import Frame
from fleet_contract.inference.runtime import sigmoid
from fleet_contract.names import Verdict

_COLOURS = {
    Verdict.ACCEPT: (80, 160, 60),
    Verdict.REJECT: (60, 60, 220),
    Verdict.NO_DECISION: (40, 160, 230),
}
"""Blue, green, red."""
_BAR, _FONT = 36, cv2.FONT_HERSHEY_SIMPLEX


def jpeg(seen: Seen, *, heat: bool) -> bytes:
    """JPEG of the part's picture, with its heat map where wanted. The picture must be there."""
    image = bgr(seen.picture)
    return _encode(".jpg", _heated(image, seen.heat) if heat else image)


def snapshot(seen: Seen) -> bytes:
    """PNG: the frame, beside it the frame under its heat map, above both the verdict in words."""
    image = bgr(seen.picture)
    pair = np.hstack([image, _heated(image, seen.heat)])
    verdict = seen.verdict
    score = "" if verdict.score is None else f"  score {verdict.score:.3f}"
    why = f"  {verdict.reason}" if verdict.reason else ""
    bar = np.full((_BAR, pair.shape[1], 3), _COLOURS[verdict.verdict], np.uint8)
    view = f"  {verdict.view}" if verdict.view else ""
    text = f"part {verdict.number}{view}  {verdict.verdict}{why}{score}"
    scale = min(0.8, pair.shape[1] / (20 * len(text)))
    cv2.putText(bar, text, (10, 25), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return _encode(".png", np.vstack([bar, pair]))


def bgr(frame: Frame | None) -> NDArray[np.uint8]:
    """uint8 [h, w, 3] in OpenCV's order; 16 bits are stretched to their own range."""
    assert frame is not None
    if frame.dtype == np.uint16:
        top = max(int(frame.max()), 1)
        frame = np.asarray(frame.astype(np.float32) * (255.0 / top), np.uint8)
    code = cv2.COLOR_RGB2BGR if frame.ndim == 3 else cv2.COLOR_GRAY2BGR
    return np.asarray(cv2.cvtColor(frame, code), np.uint8)


def _heated(image: NDArray[np.uint8], logits: NDArray[np.float32] | None) -> NDArray[np.uint8]:
    if logits is None:
        return image
    size = (image.shape[1], image.shape[0])
    heat = cv2.resize(sigmoid(logits), size, interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(np.asarray(heat * 255, np.uint8), cv2.COLORMAP_INFERNO)
    # As opaque as the map is hot: what is clean stays as it is.
    share = np.clip(heat, 0, 1)[:, :, None] * 0.75
    return np.asarray(image * (1 - share) + colours * share, np.uint8)


def _encode(suffix: str, image: NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1])
