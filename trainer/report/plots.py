"""Plots as inline SVG. Colours come from the page's style, so that they follow light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from trainer.measures import Scores, Truth, cumulated

Point = tuple[float, float]

_WIDTH, _HEIGHT = 340, 260
_LEFT, _TOP, _RIGHT, _BOTTOM = 46, 14, 12, 40
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_MOST_POINTS = 240
_BINS = 25


@dataclass(slots=True)
class Plot:
    """Axes from 0 to 1 (y to `top`), and what is drawn into them."""

    title: str
    x_label: str
    y_label: str
    top: float = 1.0
    _parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return _LEFT + value * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Pixels from above."""
        return _TOP + (1 - value / self.top) * (_HEIGHT - _TOP - _BOTTOM)

    def line(self, points: Sequence[Point], style: str) -> None:
        """A line through the points."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self._parts.append(f'<polyline class="{style}" points="{path}"/>')

    def dot(self, point: Point, style: str, said: str) -> None:
        """A marked point."""
        self._parts.append(f'<circle class="{style}" cx="{self.x(point[0]):.1f}" '
                           f'cy="{self.y(point[1]):.1f}" r="4.5"><title>{escape(said)}</title></circle>')  # fmt: skip

    def bar(self, left: float, right: float, height: float, style: str) -> None:
        """A bar from the axis."""
        top = self.y(height)
        self._parts.append(
            f'<rect class="{style}" x="{self.x(left):.1f}" y="{top:.1f}" '
            f'width="{self.x(right) - self.x(left):.1f}" height="{self.y(0) - top:.1f}"/>'
        )

    def text(self, point: Point, said: str, style: str = "", anchor: str = "start") -> None:
        """Words at a point."""
        self._parts.append(f'<text class="{style}" x="{self.x(point[0]):.1f}" '
                           f'y="{self.y(point[1]):.1f}" text-anchor="{anchor}">{escape(said)}</text>')  # fmt: skip

    def svg(self) -> Markup:
        """The plot as an element of a page."""
        return Markup(  # every text in it is escaped
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(self.title)}">'
            f"{self._axes()}{''.join(self._parts)}</svg>"
        )

    def _axes(self) -> str:
        parts = []
        for tick in _TICKS:
            x, y = self.x(tick), self.y(tick * self.top)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{self.y(0):.1f}"/>')  # fmt: skip
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{self.x(1):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')  # fmt: skip
            parts.append(f'<text class="tick" x="{x:.1f}" y="{self.y(0) + 14:.1f}" text-anchor="middle">{tick:g}</text>')  # fmt: skip
            parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick * self.top:.2g}</text>')  # fmt: skip
        middle = self.y(self.top / 2)
        parts.append(f'<text class="axis" x="{self.x(0.5):.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(self.x_label)}</text>')  # fmt: skip
        parts.append(f'<text class="axis" transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(self.y_label)}</text>')  # fmt: skip
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class Marked:
    """The shipped threshold, as a point of the curves."""

    recall: float
    false_alarms: float
    precision: float | None


def roc(scores: Scores, defective: Truth, at: Marked) -> Markup:
    """Share of defective found against share of good rejected, over all thresholds."""
    plot = Plot("ROC curve", "good rejected (overkill)", "defective found")
    hits, taken = cumulated(scores, defective)
    wrong = taken - hits
    points = [(0.0, 0.0), *zip(wrong / max(wrong[-1], 1), hits / max(hits[-1], 1), strict=True)]
    plot.line([(0.0, 0.0), (1.0, 1.0)], "chance")
    plot.line(thinned(points), "curve")
    plot.dot((at.false_alarms, at.recall), "mark", "the shipped threshold")
    return plot.svg()


def precision_recall(scores: Scores, defective: Truth, at: Marked) -> Markup:
    """Share of rejects that are right against share of defective found, over all thresholds."""
    plot = Plot("Precision and recall", "defective found (recall)", "rejects that are right")
    hits, taken = cumulated(scores, defective)
    share = float(defective.mean())
    plot.line([(0.0, share), (1.0, share)], "chance")
    plot.line(thinned(list(zip(hits / max(hits[-1], 1), hits / taken, strict=True))), "curve")
    if at.precision is not None:
        plot.dot((at.recall, at.precision), "mark", "the shipped threshold")
    return plot.svg()


def histogram(scores: Scores, defective: Truth, threshold: float) -> Markup:
    """Scores of good and defective images, each as shares of their own kind."""
    shares = [_shares(scores[~defective]), _shares(scores[defective])]
    top = max(float(max(share.max() for share in shares)), 0.05)
    plot = Plot("Scores of good and defective images", "score", "share of its kind", top * 1.12)
    for share, style in zip(shares, ("good", "bad"), strict=True):
        for index, height in enumerate(share):
            if height:
                plot.bar(index / _BINS, (index + 1) / _BINS, float(height), style)
    plot.line([(threshold, 0.0), (threshold, plot.top)], "threshold")
    plot.text((min(threshold + 0.015, 0.72), plot.top * 0.95), f"threshold {threshold:.3g}", "tick")
    return plot.svg()


def calibration(bins: Sequence[tuple[int, float, float]]) -> Markup:
    """Share of defective images by mean score: (n, score, share) of each bin."""
    plot = Plot("Calibration of the score", "mean score", "share defective")
    plot.line([(0.0, 0.0), (1.0, 1.0)], "chance")
    if bins:
        plot.line([(score, share) for _, score, share in bins], "curve")
    for count, score, share in bins:
        plot.dot(
            (score, share), "dot", f"{count} images of score {score:.2f}: {share:.0%} defective"
        )
    return plot.svg()


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most 240 of the points, first and last included."""
    if len(points) <= _MOST_POINTS:
        return [(float(x), float(y)) for x, y in points]
    chosen = np.unique(np.linspace(0, len(points) - 1, _MOST_POINTS).astype(int))
    return [(float(points[i][0]), float(points[i][1])) for i in chosen]


def _shares(scores: Scores) -> NDArray[np.float64]:
    counts = np.histogram(scores, _BINS, (0.0, 1.0))[0]
    return np.asarray(counts / max(len(scores), 1), np.float64)
