"""What drifted, from which features moved. Rules in order; the first that fits names the cause.

Sharpness and noise are over the light's level, and thumbnail cells over the picture's mean, so that light
alone moves the levels but hardly these: dirt shows as a few cells that changed more than the
picture's mean did.
"""

from collections.abc import Mapping

from fleet_server.drift.rules import CELLS, SCORES, Moved
from fleet_server.registry.rules import Cause

_SHARE = 0.5
"""A feature counts as moved from this share of the alarm's threshold on."""
_QUIET = 0.35
"""Below this share every image feature must be before the product or the model is blamed."""
_MOST_CELLS = 24
"""Dirt covers fewer cells than this; light, vignetting and a moved camera change more."""
_LEVELS = ("std", "p01", "p99", "clip_low", "clip_high", "entropy", "saturation")


def attribute(moved: Mapping[str, Moved], threshold: float) -> Cause | None:
    """The cause, or None while the picture is moving but not far enough to say what it is."""
    far = {name for name, m in moved.items() if m.strength >= _SHARE * threshold}
    if far & {"shift_x", "shift_y"}:
        return "camera"
    if _dirty(moved, far):
        return "dirt"
    if far & {"mean", "rg", "bg"}:
        return "light"
    if "noise" in far and moved["noise"].s > 0:
        return "noise"
    if far & {"sharpness", "edges", "noise", "shift_response"}:
        return "focus"
    if far & set(_LEVELS):
        return "light"
    if far & set(CELLS):
        return "dirt"
    return _of_the_scores(moved, far, threshold)


def _dirty(moved: Mapping[str, Moved], far: set[str]) -> bool:
    cells = [moved[name].change for name in far & set(CELLS)]
    if not cells or len(cells) > _MOST_CELLS:
        return False
    brightness = abs(moved["mean"].change) if "mean" in moved else 0.0
    return max(abs(change) for change in cells) > 1.5 * brightness


def _of_the_scores(moved: Mapping[str, Moved], far: set[str], threshold: float) -> Cause | None:
    stirring = [
        name for name, m in moved.items() if name not in SCORES and m.strength >= _QUIET * threshold
    ]
    if stirring or not far:
        return None
    if "rejects" in far:
        return "mix"
    return "model"
