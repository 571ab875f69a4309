"""Chooses golden samples: frames on which a wrongly set up device would give itself away."""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import DatasetItem
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import Frame, preprocess, to_8_bit
from fleet_contract.manifest import Preprocess
from fleet_contract.names import Verdict
from trainer.data.images import FIRST_KIND, Images
from trainer.member import Ensemble
from trainer.synthetic import add_anomaly

_MARGINS = (0.25, 0.15, 0.1)
"""Distances of a golden score from the threshold; a model that is less sure gets less."""
_ANOMALIES = 100


def choose(ensemble: Ensemble, images: Images, count: int, threshold: float) -> NDArray[np.intp]:
    """Indices of `count` images, both verdicts, all right and well away from `threshold`.

    Good ones: half of them those whose score moves most when the channels change places, for that
    is what a wrongly set camera does; the others the surest. Defective ones: the surest of each
    class in turn. Raises DataError where no such images are found.
    """
    scores = ensemble.scores(images)
    good, bad = _sure(images, scores, threshold)
    wanted = count // 2
    chosen = _moving(ensemble, images, scores, good)[: max(2, wanted // 2)]
    sure = [index for index in good[np.argsort(scores[good], kind="stable")] if index not in chosen]
    goods = [*chosen, *sure][: count - wanted]
    return np.array([*goods, *_by_class(images, scores, bad)[:wanted]], np.intp)


def _sure(
    images: Images, scores: NDArray[np.float64], threshold: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the good and of the defective ones that are judged right, as surely as there are."""
    for margin in _MARGINS:
        room = _room(margin, threshold)
        good = np.flatnonzero(~images.defective & (scores <= threshold - room))
        bad = np.flatnonzero(images.defective & (scores >= threshold + room))
        if good.size and bad.size:
            return good, bad
    raise DataError(
        "no golden samples can be chosen",
        expected=f"good and defective images scored {room:.2f} away from the threshold",
        found=f"{good.size} good and {bad.size} defective ones",
        remedy="The model has not learnt the line: train longer, or look at the labels.",
    )


def _room(margin: float, threshold: float) -> float:
    return min(margin, threshold / 2, (1 - threshold) / 2)


def with_anomalies(
    ensemble: Ensemble,
    images: Images,
    count: int,
    threshold: float,
    load: Callable[[DatasetItem], Frame],
) -> list[tuple[Frame, Verdict]]:
    """Golden samples of a line without a defective image: good frames, some with an anomaly put on.

    Raises DataError where the model sees none of a hundred anomalies.
    """
    room = _room(_MARGINS[0], threshold)
    scores = ensemble.scores(images)
    order = [int(i) for i in np.argsort(scores, kind="stable") if not images.defective[i]]
    frames = [(load(images.items[i]), Verdict.ACCEPT) for i in order[: count - count // 2]]
    rng, found = np.random.default_rng(0), list[tuple[Frame, Verdict]]()
    for attempt in range(_ANOMALIES):
        if len(found) == count // 2:
            return [*frames, *found]
        frame = load(images.items[order[attempt % len(order)]])
        pixels = to_8_bit(frame, ensemble.spec.levels)
        pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
        changed, _ = add_anomaly(pixels, pixels, FIRST_KIND, rng)
        made = _as_frame(changed, frame, ensemble.spec)
        if ensemble.scores(_single(images, preprocess(made, ensemble.spec)))[0] >= threshold + room:
            found.append((made, Verdict.REJECT))
    raise DataError(
        "no golden samples can be chosen",
        expected=f"{count // 2} anomalies that the model rejects", found=str(len(found)),
        remedy="The model has not learnt the line: train longer, or look at the images.",
    )  # fmt: skip


def _as_frame(pixels: NDArray[np.uint8], frame: Frame, spec: Preprocess) -> Frame:
    """Pixels of 8 bits with the depth and shape of `frame`."""
    shaped = pixels.reshape(frame.shape)
    if spec.levels is None:
        return shaped
    low, high = spec.levels
    return np.asarray(shaped.astype(np.float32) / 255 * (high - low) + low, np.uint16)


def _single(images: Images, pixels: NDArray[np.uint8]) -> Images:
    one = images.take(np.array([0], np.intp))
    return dataclasses.replace(one, pixels=pixels[None])


def _moving(
    ensemble: Ensemble, images: Images, scores: NDArray[np.float64], good: NDArray[np.intp]
) -> list[int]:
    if images.pixels.shape[3] == 1:
        return []
    swapped = ensemble.scores(images.take(good).mirrored_colours())
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
