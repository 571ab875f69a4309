"""How the console says things: tones, times, digests, numbers, small pictures. Pure functions."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Tone = Literal["ok", "warn", "bad", "info", "idle"]
"""ok: as it should be; warn: look at it; bad: act; info: under way; idle: nothing to say."""

SHORT = 12
"""Characters of a digest that lists show; the whole one stands in the title."""


@dataclass(frozen=True, slots=True)
class Badge:
    """A state in one or two words."""

    text: str
    tone: Tone = "idle"


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of a list of facts. `href` makes the value a link, `digest` shows it shortened."""

    name: str
    value: str
    href: str = ""
    digest: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """Verdicts of a device."""

    accept: int = 0
    reject: int = 0
    no_decision: int = 0

    @property
    def parts(self) -> int:
        """All parts that ended in a verdict."""
        return self.accept + self.reject + self.no_decision

    def shares(self) -> list[tuple[str, int, float]]:
        """(verdict, count, share in [0, 1]); the shares are 0 without parts."""
        whole = max(self.parts, 1)
        pairs = [
            ("accept", self.accept),
            ("reject", self.reject),
            ("no_decision", self.no_decision),
        ]
        return [(name, count, count / whole) for name, count in pairs]


@dataclass(frozen=True, slots=True)
class Chart:
    """A series of windows. `x` in seconds since 1970, `low` and `high` bound the baseline band."""

    label: str
    x: list[float]
    y: list[float | None]
    low: float | None = None
    high: float | None = None
    marks: tuple[float, ...] = ()
    """Times at which another bundle became the active one."""
    note: str = ""

    def data(self) -> str:
        """JSON for app.js."""
        values = {"x": self.x, "y": self.y, "low": self.low, "high": self.high, "marks": self.marks}
        return json.dumps(values, allow_nan=False)

    def summary(self) -> str:
        """The chart in words: its last value, and the band."""
        last = next((value for value in reversed(self.y) if value is not None), None)
        text = "no values yet" if last is None else f"now {number(last)}"
        if self.low is None or self.high is None:
            return text
        return f"{text}, baseline {number(self.low)} to {number(self.high)}"


def ago(then: float, now: float) -> str:
    """The time since `then`, both in seconds since 1970."""
    seconds = now - then
    if seconds < 0:
        return "just now"
    for size, unit, end in ((1, "s", 60), (60, "min", 3600), (3600, "h", 172_800)):
        if seconds < end:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds // 86_400)} days ago"


def absolute(then: float) -> str:
    """The time in UTC, to the second."""
    return datetime.fromtimestamp(then, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """A duration in two units at most."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days {hours % 24} h"


def short(digest: str) -> str:
    """The first characters of a digest."""
    return digest[:SHORT]


def percent(share: float) -> str:
    """A share in [0, 1] as per cent: a digit after the point below ten."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"


def size(count: float) -> str:
    """Bytes in the largest decimal unit that leaves a number above one."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def number(value: float | str | bool | None) -> str:
    """A number to four digits; text and nothing as they are."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (math.isfinite(value) and value == int(value)):
        return f"{int(value):,}".replace(",", " ")
    return f"{value:.4g}"


def plain(name: str) -> str:
    """A name of the contract as words: `rolled_back` is `rolled back`."""
    return name.replace("_", " ")


def spark_path(values: Sequence[float], *, area: bool = False) -> str:
    """SVG path of a small line in a box of 100 x 30, the first value left; empty below two values."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    middle = (low + high) / 2
    # At least a tenth of the level fills the box, so that a quiet series looks quiet.
    spread = max(high - low, 0.1 * abs(middle)) or 1.0
    points = [
        f"{100 * index / (len(values) - 1):.1f} {15 - 26 * (value - middle) / spread:.1f}"
        for index, value in enumerate(values)
    ]
    line = "M" + "L".join(points)
    return f"{line}L100 30L0 30Z" if area else line
