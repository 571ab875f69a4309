"""Pictures of the worst errors: the image with the outline of the truth, and the model's heat."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import GOOD
from fleet_contract.inference.model import BundleModel
from fleet_contract.inference.preprocess import Frame, decode_image, to_8_bit
from fleet_contract.inference.runtime import sigmoid
from fleet_contract.manifest import Manifest
from fleet_contract.names import Precision, Runtime, Verdict
from trainer.judge import enlarged
from trainer.samples import Samples

Kind = Literal["miss", "false_alarm", "close_call"]

_MOST = {"miss": 6, "false_alarm": 6, "close_call": 4}
_SIDE = 320
"""Longest side of a picture in pixels."""
_QUALITY = 72
_OUTLINE = (255, 210, 0)
_HEAT = np.array([255.0, 30.0, 30.0])


@dataclass(frozen=True, slots=True)
class Picture:
    """One judged image, twice."""

    kind: Kind
    source: str
    label: str
    score: float
    slices: str
    """`exposure 1, camera left`."""
    image: str
    """Data URI (JPEG), the truth outlined where it is known."""
    heat: str
    """Data URI (JPEG), the model's heat laid over."""


def gallery(
    folder: Path, manifest: Manifest, samples: Samples, evaluation: Mapping[str, Any]
) -> tuple[Picture, ...]:
    """The worst misses, the worst false alarms and the closest right calls of an evaluation.

    They are judged anew, so that no heat need be kept. Raises ModelError, DataError.
    """
    runtime, precision = str(evaluation["model"]).split("/")
    model = BundleModel(folder, manifest, Runtime(runtime), Precision(precision))
    decisions: list[dict[str, Any]] = evaluation["decisions"]
    return tuple(
        _picture(model, samples, decisions[index], index, kind)
        for kind, index in choose(decisions, float(evaluation["threshold"]))
    )


def choose(decisions: list[dict[str, Any]], threshold: float) -> list[tuple[Kind, int]]:
    """Kind and index of what is shown, the worst of each kind first."""
    found: dict[Kind, list[tuple[float, int]]] = {"miss": [], "false_alarm": [], "close_call": []}
    for index, one in enumerate(decisions):
        if one["verdict"] == Verdict.NO_DECISION:
            continue
        rejected, defective = one["verdict"] == Verdict.REJECT, one["label"] != GOOD
        score = float(one["score"])
        if rejected == defective:
            found["close_call"].append((abs(score - threshold), index))
        else:
            found["miss" if defective else "false_alarm"].append(
                (score if defective else -score, index)
            )
    return [(kind, index) for kind, ranked in found.items()
            for _, index in sorted(ranked)[: _MOST[kind]]]  # fmt: skip


def _picture(
    model: BundleModel, samples: Samples, decision: Mapping[str, Any], index: int, kind: Kind
) -> Picture:
    schema, item = model.manifest.input, samples.items[index]
    frame = decode_image(samples.image(index), schema.channels, schema.depth)
    size = (frame.shape[0], frame.shape[1])
    mask = samples.mask(index, size)
    small = _shrunk(_colour(frame, model.manifest))
    high, wide = small.shape[:2]
    heat = sigmoid(enlarged(model.judge(frame).mask_logits, (high, wide)))[..., None]
    mixed = small * (1 - 0.65 * heat) + _HEAT * (0.65 * heat)
    return Picture(
        kind=kind, source=item.source or item.sha256[:12], label=item.label,
        score=float(decision["score"]),
        slices=", ".join(f"{name} {value}" for name, value in item.slices.items())[:80],
        image=_data_uri(_outlined(small, mask)),
        heat=_data_uri(_outlined(mixed.astype(np.uint8), mask)),
    )  # fmt: skip


def _colour(frame: Frame, manifest: Manifest) -> NDArray[np.uint8]:
    grey = to_8_bit(frame, manifest.preprocess.levels)
    return grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = _SIDE / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def _outlined(image: NDArray[np.uint8], mask: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """With a line around the truth, which lies outside of the defect and leaves it to be seen."""
    if mask is None or not mask.any():
        return image
    size = (image.shape[1], image.shape[0])
    # Area, and anything above zero: a defect of a few pixels must not vanish with the size.
    small = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    grown = cv2.dilate(small.astype(np.uint8), np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = np.ascontiguousarray(image.copy())
    cv2.drawContours(drawn, contours, -1, _OUTLINE, 1)
    return drawn


def _data_uri(image: NDArray[np.uint8]) -> str:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data = bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
