"""What training minimises: locating by focal and Dice loss, deciding by cross-entropy."""

import torch
from torch import Tensor
from torch.nn import functional

from trainer.augment import Batch

_FOCUS = 2.0
_MASK_WEIGHT = 4.0
"""Defects cover about a hundredth of a picture."""
_TOP_SHARE = 0.01


def locate_loss(mask: Tensor, batch: Batch) -> Tensor:
    """Focal (Lin 2017) plus soft Dice (Milletari 2016) where masks are known, scalar.

    Where only the label is known, the mean of the strongest hundredth of the mask's logits is
    judged by it: a defective picture has a defect somewhere.
    """
    known, unknown = batch.masked, ~batch.masked
    loss = mask.sum() * 0
    if bool(known.any()):
        loss = loss + _focal(mask[known], batch.mask[known]) + _dice(mask[known], batch.mask[known])
    if bool(unknown.any()):
        flat = mask[unknown].flatten(1)
        top = flat.topk(max(1, int(flat.shape[1] * _TOP_SHARE)), dim=1).values.mean(1, keepdim=True)
        loss = loss + functional.binary_cross_entropy_with_logits(top, batch.label[unknown])
    return loss


def decide_loss(score: Tensor, batch: Batch) -> Tensor:
    """Binary cross-entropy of the images' scores (logits), scalar."""
    return functional.binary_cross_entropy_with_logits(score, batch.label)


def _focal(logits: Tensor, target: Tensor) -> Tensor:
    plain = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = torch.where(target > 0, _MASK_WEIGHT, 1.0)
    # Divided by the marked cells, so that small defects count as much as large ones.
    focal = (1 - torch.exp(-plain)) ** _FOCUS * plain * weight
    return focal.sum() / target.sum().clamp(min=float(len(target)))


def _dice(logits: Tensor, target: Tensor) -> Tensor:
    probability = torch.sigmoid(logits)
    overlap = 2 * (probability * target).sum() + 1
    return 1 - overlap / (probability.sum() + target.sum() + 1)
