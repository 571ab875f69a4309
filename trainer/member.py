"""Trained models in one form: what they say of pictures, how they are calibrated and exported.

`TorchMember` holds a network of ours, `OnnxMember` a graph from outside. An `Ensemble` is one or
more of them, judged as a device will judge: over all views of a picture, by the declared rule.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fleet_contract.inference.views import views
from fleet_contract.manifest import ModelFile, Preprocess
from fleet_contract.names import Precision
from trainer.data.images import Images
from trainer.export import litert, onnx
from trainer.export.equalise import equalise
from trainer.export.first import LIGHT_FIRST, NO_FIRST, PRETRAINED_FIRST, FirstLayers
from trainer.export.fold import fold
from trainer.export.rounding import round_weights
from trainer.export.shift import shift_score
from trainer.network import InspectionNet, PretrainedTrunk
from trainer.weights import pack_weights

Views = NDArray[np.uint8]
"""[n, height, width, channels] uint8 at the graph's size."""
Logits = NDArray[np.float64]
"""[n] float64: the larger, the more defective."""
_BATCH = 16


class Member(Protocol):
    """One model."""

    def logits(self, pictures: Views) -> Logits:
        """Of the score, before the logistic function."""

    def settle(self, pictures: Views) -> None:
        """Once, after training and before `export`: brings the weights into a form that int8 can carry."""

    def calibrate(self, scale: float, shift: float) -> None:
        """From now on a logit `x` is `scale * x + shift`."""

    def export(self, folder: Path, index: int, pictures: Views, max_change: float) -> "Exported":
        """Writes its model files below `folder`; `pictures` show the range of every activation."""

    def weights(self) -> bytes | None:
        """What a later training can go on from; None where there is nothing."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Model files, and how int8 came out, by runtime."""

    files: list[ModelFile]
    quantization: dict[str, dict[str, object]]


class Scored(Protocol):
    """A network whose last layer makes the score from evidence, linearly."""

    final: nn.Linear

    def __call__(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Score [n, 1], mask, and kinds where there are any."""


class TorchMember:
    """A network of ours, in evaluation mode."""

    def __init__(self, model: nn.Module, final: nn.Linear) -> None:
        self.model, self._final = model.eval(), final
        self._packed: bytes | None = None

    @torch.no_grad()
    def logits(self, pictures: Views) -> Logits:
        """See `Member`."""
        result = []
        for start in range(0, len(pictures), _BATCH):
            chunk = np.ascontiguousarray(pictures[start : start + _BATCH].transpose(0, 3, 1, 2))
            result.append(self.model(torch.from_numpy(chunk).float())[0].numpy().reshape(-1))
        return np.concatenate(result).astype(np.float64)

    def settle(self, pictures: Views) -> None:
        """See `Member`."""
        if isinstance(self.model, InspectionNet):
            equalise(self.model, pictures)
            # A later training goes on from weights that still have their BatchNorm.
            self._packed = pack_weights(self.model)
            fold(self.model)

    @torch.no_grad()
    def calibrate(self, scale: float, shift: float) -> None:
        """See `Member`."""
        self._final.weight.mul_(scale)
        self._final.bias.copy_(self._final.bias * scale + shift)

    def export(self, folder: Path, index: int, pictures: Views, max_change: float) -> Exported:
        """See `Member`."""
        files, quantization = [], {}
        first = self._first()
        ours = isinstance(self.model, InspectionNet)
        rounding = round_weights(self.model, pictures, first.convolutions) if ours else {}
        for room in (onnx, litert):
            fp32, int8 = (room.model_file(precision, 1.0, index) for precision in Precision)
            (folder / fp32.file).parent.mkdir(parents=True, exist_ok=True)
            room.export_fp32(self.model, pictures[0], folder / fp32.file)
            found = room.quantize(
                folder / fp32.file, pictures, folder / int8.file, max_change, first, rounding
            )
            quantization[str(fp32.runtime)] = found
            files += [fp32, int8]
        return Exported(files, quantization)

    def _first(self) -> FirstLayers:
        trunk = getattr(self.model, "trunk", None)
        return PRETRAINED_FIRST if isinstance(trunk, PretrainedTrunk) else LIGHT_FIRST

    def weights(self) -> bytes | None:
        """See `Member`."""
        return self._packed or pack_weights(self.model)


class OnnxMember:
    """A graph from outside that keeps the contract of `fleet_contract.manifest.ModelFile`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scale, self._shift = 1.0, 0.0

    def logits(self, pictures: Views) -> Logits:
        """See `Member`."""
        return onnx.raw_logits(self._path, pictures) * self._scale + self._shift

    def settle(self, pictures: Views) -> None:
        """Nothing: the graph is not ours."""

    def calibrate(self, scale: float, shift: float) -> None:
        """See `Member`."""
        self._scale, self._shift = self._scale * scale, self._shift * scale + shift

    def export(self, folder: Path, index: int, pictures: Views, max_change: float) -> Exported:
        """See `Member`. ONNX alone: there is no converter from ONNX to LiteRT that we trust."""
        fp32, int8 = (onnx.model_file(precision, 1.0, index) for precision in Precision)
        (folder / fp32.file).parent.mkdir(parents=True, exist_ok=True)
        shift_score(self._path, folder / fp32.file, self._scale, self._shift)
        found = onnx.quantize(
            folder / fp32.file, pictures, folder / int8.file, max_change, NO_FIRST, {}
        )
        return Exported([fp32, int8], {str(fp32.runtime): found})

    def weights(self) -> bytes | None:
        """See `Member`."""
        return None


@dataclass(slots=True)
class Ensemble:
    """One member or more, and how they decide together."""

    members: list[Member]
    rule: Literal["mean", "max", "vote"]
    spec: Preprocess

    def member_logits(self, images: Images) -> NDArray[np.float64]:
        """[members, n]: the largest logit over the views of each picture."""
        result = np.empty((len(self.members), len(images)), np.float64)
        for index in range(len(images)):
            seen = np.stack(views(images.pixels[index], self.spec))
            for place, member in enumerate(self.members):
                result[place, index] = member.logits(seen).max()
        return result

    def scores(self, images: Images) -> NDArray[np.float64]:
        """[n] in [0, 1], by the rule."""
        return combined(probability(self.member_logits(images)), self.rule)


def combined(
    scores: NDArray[np.float64], rule: Literal["mean", "max", "vote"]
) -> NDArray[np.float64]:
    """[n] from [members, n]; as `fleet_contract.inference.model.combine`."""
    if rule == "mean":
        return np.asarray(scores.mean(axis=0))
    if rule == "max":
        return np.asarray(scores.max(axis=0))
    return np.asarray((scores >= 0.5).mean(axis=0))


def probability(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic function."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -700, 700))))
