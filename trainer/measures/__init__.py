"""Measures of an inspection, as pure functions of scores, verdicts and masks."""

from trainer.measures.pixels import PixelCounts, pixel_average_precision
from trainer.measures.ranking import (
    Calibration,
    Scores,
    auroc,
    average_precision,
    calibration,
    conformal_escape_threshold,
    conformal_threshold,
    cumulated,
    f1,
    f1_max,
    percentile,
)
from trainer.measures.rates import (
    Rate,
    Truth,
    class_recalls,
    difference_interval,
    escape,
    exact_rate,
    outgoing_dppm,
    overkill,
)

__all__ = [
    "Calibration",
    "PixelCounts",
    "Rate",
    "Scores",
    "Truth",
    "auroc",
    "average_precision",
    "calibration",
    "class_recalls",
    "conformal_escape_threshold",
    "conformal_threshold",
    "cumulated",
    "difference_interval",
    "escape",
    "exact_rate",
    "f1",
    "f1_max",
    "outgoing_dppm",
    "overkill",
    "percentile",
    "pixel_average_precision",
]
