"""Chooses golden samples: frames on which a wrongly set up device would give itself away."""

import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import DataError
from trainer.calibrate import logits, probability
from trainer.data.images import Images
from trainer.network import InspectionNet

MARGIN = 0.25
"""Least distance of a golden score from the threshold."""


def choose(model: InspectionNet, images: Images, count: int, threshold: float) -> NDArray[np.intp]:
    """Indices of `count` images, both verdicts, all right and well away from `threshold`.

    Good ones: half of them those whose score moves most when the channels change places, for that
    is what a wrongly set camera does; the others the surest. Defective ones: the surest of each
    class in turn. Raises DataError where no such images are found.
    """
    scores = probability(logits(model, images.pixels))
    good = np.flatnonzero(~images.defective & (scores <= threshold - MARGIN))
    bad = np.flatnonzero(images.defective & (scores >= threshold + MARGIN))
    if not good.size or not bad.size:
        raise DataError(
            "no golden samples can be chosen",
            expected=f"good and defective training images scored {MARGIN} away from the threshold",
            found=f"{good.size} good and {bad.size} defective ones",
            remedy="The model has not learnt the line: train longer, or look at the labels.",
        )
    wanted = count // 2
    chosen = _moving(model, images, scores, good)[: max(2, wanted // 2)]
    sure = [index for index in good[np.argsort(scores[good], kind="stable")] if index not in chosen]
    goods = [*chosen, *sure][: count - wanted]
    return np.array([*goods, *_by_class(images, scores, bad)[:wanted]], np.intp)


def _moving(
    model: InspectionNet, images: Images, scores: NDArray[np.float64], good: NDArray[np.intp]
) -> list[int]:
    if images.pixels.shape[3] == 1:
        return []
    swapped = probability(logits(model, np.ascontiguousarray(images.pixels[good][..., ::-1])))
    order = np.argsort(-np.abs(swapped - scores[good]), kind="stable")
    return [int(index) for index in good[order]]


def _by_class(images: Images, scores: NDArray[np.float64], bad: NDArray[np.intp]) -> list[int]:
    """Defective images, the surest of each class first, then the second of each."""
    ranked: dict[str, int] = {}
    keyed = []
    for index in bad[np.argsort(-scores[bad], kind="stable")]:
        label = images.items[int(index)].label
        ranked[label] = ranked.get(label, -1) + 1
        keyed.append((ranked[label], label, int(index)))
    return [index for _, _, index in sorted(keyed)]
