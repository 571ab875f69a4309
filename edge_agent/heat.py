"""A defect map as a small picture: for whoever reviews the frame later."""

import base64
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.inference.runtime import sigmoid

SIDE = 128
"""Pixels of the longer side, at most."""


def heat_map(logits: NDArray[np.float32], frame: tuple[int, int]) -> str:
    """Base64 of a grey PNG in the shape of the frame: 0 for good, 255 for a certain defect.

    `logits` [h, w] float32 over the whole frame, `frame` its height and width in pixels. Where the map
    is made smaller, the largest value of each cell is kept, so that a small defect stays one.
    """
    scale = min(1.0, SIDE / max(frame))
    height, width = (max(1, round(side * scale)) for side in frame)
    reach = [
        math.ceil(have / want) for have, want in zip(logits.shape, (height, width), strict=True)
    ]
    peaks = cv2.dilate(logits, np.ones(reach, np.uint8))
    small = cv2.resize(peaks, (width, height), interpolation=cv2.INTER_LINEAR)
    grey = np.rint(sigmoid(np.asarray(small, np.float32)) * 255).astype(np.uint8)
    return base64.b64encode(bytes(cv2.imencode(".png", grey)[1])).decode()
