"""What drifted, from which features moved. Rules in order; the first that fits names the cause.

Sharpness and noise are over the light's level, and thumbnail cells over the picture's mean, so that light
alone moves the levels but hardly these. Where cells changed more than the picture's mean, something
stands in it (dirt: cells go one way) or it moved (cells go both ways alike). Phase correlation alone
would not do: parts that differ blur it.
"""

from collections.abc import Mapping

from fleet_server.drift.rules import CELLS, SCORES, SHIFTS, Moved
from fleet_server.registry.rules import Cause

IMAGE_CAUSES: frozenset[Cause] = frozenset({"light", "focus", "dirt", "camera", "noise"})
"""Causes that lie in the picture, not in the parts or the model."""
_SHARE = 0.5
"""A feature counts as moved from this share of the alarm's threshold on."""
_QUIET = 0.35
"""Below this share every image feature must be before the product or the model is blamed."""
_LOCAL = 1.5
"""Cells that change this many times as much as the mean are a change within the picture."""
_MOVED_PX = 0.3
"""A camera that moved has moved by more than this; a dim, noisy picture shifts the estimate by less."""
_BALANCED = 0.5
"""Least share of the smaller to the larger change, of cells up and cells down, in a moved picture."""


def attribute(moved: Mapping[str, Moved], threshold: float) -> Cause | None:
    """The cause, or None while the picture is moving but not far enough to say what it is."""
    far = {name for name, m in moved.items() if m.strength >= _SHARE * threshold}
    if any(abs(moved[name].change) >= _MOVED_PX for name in far & SHIFTS):
        return "camera"
    within = _within_the_picture(moved, far)
    if within:
        return within
    if far & {"mean", "rg", "bg"}:
        return "light"
    if "noise" in far and moved["noise"].s > 0:
        return "noise"
    if far & {"sharpness", "edges", "noise", "shift_response"}:
        return "focus"
    if far - set(SCORES):
        return "light"
    return _of_the_scores(moved, far, threshold)


def _within_the_picture(moved: Mapping[str, Moved], far: set[str]) -> Cause | None:
    changes = [moved[name].change for name in far & set(CELLS)]
    if not changes:
        return None
    up, down = max(0.0, *changes), max(0.0, *(-change for change in changes))
    brightness = abs(moved["mean"].change) if "mean" in moved else 0.0
    if max(up, down) <= _LOCAL * brightness:
        return None
    return "camera" if min(up, down) >= _BALANCED * max(up, down) else "dirt"


def _of_the_scores(moved: Mapping[str, Moved], far: set[str], threshold: float) -> Cause | None:
    stirring = [
        name for name, m in moved.items() if name not in SCORES and m.strength >= _QUIET * threshold
    ]
    if stirring or not far:
        return None
    return "mix" if "rejects" in far else "model"
