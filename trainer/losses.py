"""What training minimises: locating by focal and Dice loss, deciding by cross-entropy.

Supervision is mixed: pixels where they are known, boxes and labels by their strongest places
(multiple instances: a defective picture has a defect somewhere).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.images import FIRST_KIND, SOMEWHERE

_FOCUS = 2.0
_MASK_WEIGHT = 4.0
"""Defects cover about a hundredth of a picture."""
_TOP_SHARE, _BOX_SHARE = 0.01, 0.1
_KIND_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step learns from."""

    image: Tensor
    """[n, channels, h, w] float32, 0 to 255."""
    marks: Tensor
    """[n, h, w] uint8, as `trainer.data.images`."""
    located: Tensor
    """[n] bool: whether the marks say all."""
    label: Tensor
    """[n, 1] float32, 1 for defective."""

    def to(self, device: torch.device) -> "Batch":
        """On another device."""
        return Batch(self.image.to(device), self.marks.to(device), self.located.to(device),
                     self.label.to(device))  # fmt: skip


def locate_loss(mask: Tensor, batch: Batch) -> Tensor:
    """Focal (Lin 2017) and soft Dice (Milletari 2016) where pixels are known, scalar.

    `mask` are logits [n, 1, h, w] at any stride. A cell that holds a defective pixel is defective.
    """
    sizes = mask.shape[2:]
    marks = batch.marks[:, None].float()
    defect = functional.adaptive_max_pool2d((marks >= FIRST_KIND).float(), sizes)
    box = functional.adaptive_max_pool2d((marks == SOMEWHERE).float(), sizes) * (1 - defect)
    known = batch.located
    loss = mask.sum() * 0
    if bool(known.any()):
        sure = 1 - box[known]
        loss = loss + _focal(mask[known], defect[known], sure)
        loss = loss + _dice(mask[known], defect[known], sure)
    boxed = box.flatten(1).any(dim=1)
    for index in torch.nonzero(boxed).flatten().tolist():
        inside = mask[index][box[index] > 0]
        loss = loss + _strongest(inside[None], _BOX_SHARE, 1.0) / len(mask)
    for index in torch.nonzero(~known).flatten().tolist():
        loss = loss + _strongest(mask[index].reshape(1, -1), _TOP_SHARE,
                                 float(batch.label[index])) / len(mask)  # fmt: skip
    return loss


def decide_loss(peak: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy of the strongest place ([n, 1] logit), scalar."""
    return functional.binary_cross_entropy_with_logits(peak, batch.label)


def kinds_loss(kinds: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of the class on defective cells, scalar; `kinds` are logits [n, k, h, w]."""
    marks = batch.marks[:, None].float()
    cells = functional.adaptive_max_pool2d(marks, kinds.shape[2:])[:, 0].long() - FIRST_KIND
    if not bool((cells >= 0).any()):
        return kinds.sum() * 0
    target = torch.where(cells >= 0, cells, -1)
    return _KIND_WEIGHT * functional.cross_entropy(kinds, target, ignore_index=-1)


def _strongest(logits: Tensor, share: float, label: float) -> Tensor:
    count = max(1, int(logits.shape[1] * share))
    top = logits.topk(count, dim=1).values.mean(dim=1)
    return functional.binary_cross_entropy_with_logits(
        top, torch.full_like(top, label), reduction="sum"
    )


def _focal(logits: Tensor, target: Tensor, sure: Tensor) -> Tensor:
    plain = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = torch.where(target > 0, _MASK_WEIGHT, 1.0) * sure
    # Divided by the marked cells, so that small defects count as much as large ones.
    focal = (1 - torch.exp(-plain)) ** _FOCUS * plain * weight
    return focal.sum() / target.sum().clamp(min=float(len(target)))


def _dice(logits: Tensor, target: Tensor, sure: Tensor) -> Tensor:
    """Of each picture that has a defect by itself, so that a large one does not drown a small one."""
    marked = target.flatten(1).any(dim=1)
    if not bool(marked.any()):
        return logits.sum() * 0
    probability = torch.sigmoid(logits[marked]) * sure[marked]
    wanted = target[marked]
    overlap = 2 * (probability * wanted).flatten(1).sum(1) + 1
    total = probability.flatten(1).sum(1) + wanted.flatten(1).sum(1) + 1
    return (1 - overlap / total).mean()
