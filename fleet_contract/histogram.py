"""Histograms with fixed bins that merge exactly, and the moments beside them.

Bins are fixed by a versioned `BinSpec`, so that two histograms of one spec add bin by bin. Sums are
kept as integers of a fixed-point value, so that merging is exactly associative and commutative.
Compared with quantile sketches these are as accurate for comparing distributions, far smaller, and
add in SQL. Histograms of different specs are never merged.
"""

import base64
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fleet_contract.errors import ContractError
from fleet_contract.messages import Message

BINS = 64
_FIXED_POINT = 1 << 20
"""Steps between a spec's bounds in which sums are kept."""


@dataclass(frozen=True, slots=True)
class BinSpec:
    """Bounds and scale of a histogram's 64 bins. The name carries the version: `mean/1`."""

    name: str
    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"
    zero_bin: bool = False
    """Exact zeros are counted apart (clipping fractions are zero most of the time)."""

    def edges(self) -> NDArray[np.float64]:
        """The 65 edges, ascending, in the feature's unit."""
        if self.scale == "log":
            return np.geomspace(self.low, self.high, BINS + 1)
        return np.linspace(self.low, self.high, BINS + 1)

    def index(self, value: float) -> int:
        """Bin of a finite value: -1 below, 64 above."""
        if value < self.low:
            return -1
        if value >= self.high:
            return BINS if value > self.high else BINS - 1
        if self.scale == "log":
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(int(share * BINS), BINS - 1)

    def fixed(self, value: float) -> int:
        """The value clipped to the bounds, in fixed-point steps from `low`."""
        clipped = min(max(value, self.low), self.high)
        return round((clipped - self.low) / (self.high - self.low) * _FIXED_POINT)

    def real(self, fixed: float) -> float:
        """The value of a (mean of) fixed-point steps, in the feature's unit."""
        return self.low + fixed / _FIXED_POINT * (self.high - self.low)

    def width(self) -> float:
        """The span between the bounds, in the feature's unit."""
        return self.high - self.low


SPECS: dict[str, BinSpec] = {
    spec.name: spec
    for spec in (
        BinSpec("mean/1", 0, 255),
        BinSpec("std/1", 0, 128),
        BinSpec("p01/1", 0, 255),
        BinSpec("p99/1", 0, 255),
        BinSpec("clip_low/1", 0, 1, zero_bin=True),
        BinSpec("clip_high/1", 0, 1, zero_bin=True),
        BinSpec("entropy/1", 0, 8),
        BinSpec("sharpness/1", 1e-6, 1e2, scale="log"),
        BinSpec("noise/1", 1e-2, 1e2, scale="log"),
        BinSpec("edges/1", 0, 1),
        BinSpec("rg/1", 1e-1, 1e1, scale="log"),
        BinSpec("bg/1", 1e-1, 1e1, scale="log"),
        BinSpec("saturation/1", 0, 255),
        BinSpec("shift_x/1", -64, 64),
        BinSpec("shift_y/1", -64, 64),
        BinSpec("shift_response/1", 0, 1),
        BinSpec("score/1", 0, 1),
        BinSpec("score_difference/1", -1, 1),
        BinSpec("latency_ms/1", 1e-1, 1e4, scale="log"),
    )
}
"""Every spec of version 1. A changed bound is a new name."""


@dataclass(slots=True)
class Histogram:
    """Counts, moments and lag-1 products of one feature; `add` in order of time, then `merge`.

    Sums are integers of fixed-point steps (see `BinSpec.fixed`): `total`, `squares`, and over pairs
    of neighbouring frames `lag_products`, `lag_left`, `lag_right`.
    """

    spec: BinSpec
    counts: NDArray[np.int64]
    under: int = 0
    over: int = 0
    zeros: int = 0
    non_finite: int = 0
    total: int = 0
    squares: int = 0
    lag_pairs: int = 0
    lag_products: int = 0
    lag_left: int = 0
    lag_right: int = 0
    _last: int | None = None

    @classmethod
    def empty(cls, spec: str) -> Self:
        """A histogram without values of the spec of that name. Raises ContractError if unknown."""
        if spec not in SPECS:
            raise ContractError(
                f"no bin specification is called {spec[:80]!r}", expected=", ".join(SPECS)
            )
        return cls(SPECS[spec], np.zeros(BINS, np.int64))

    @classmethod
    def of(cls, spec: str, values: Iterable[float]) -> Self:
        """A histogram of `values`, in order of time."""
        histogram = cls.empty(spec)
        for value in values:
            histogram.add(value)
        return histogram

    @property
    def finite(self) -> int:
        """How many finite values were added."""
        return int(self.counts.sum()) + self.under + self.over + self.zeros

    def add(self, value: float) -> None:
        """Counts one value; a non-finite one is counted apart and breaks the lag-1 chain."""
        if not math.isfinite(value):
            self.non_finite += 1
            self._last = None
            return
        if self.spec.zero_bin and value == 0:
            self.zeros += 1
        else:
            index = self.spec.index(value)
            if index < 0:
                self.under += 1
            elif index >= BINS:
                self.over += 1
            else:
                self.counts[index] += 1
        self._add_moments(self.spec.fixed(value))

    def _add_moments(self, fixed: int) -> None:
        self.total += fixed
        self.squares += fixed * fixed
        if self._last is not None:
            self.lag_pairs += 1
            self.lag_products += self._last * fixed
            self.lag_left += self._last
            self.lag_right += fixed
        self._last = fixed

    def merge(self, other: "Histogram") -> "Histogram":
        """A new histogram of both; exactly associative and commutative.

        Raises ContractError for another spec: bins of different bounds cannot be added.
        """
        if self.spec != other.spec:
            raise ContractError(
                "histograms of different bins cannot be merged",
                expected=self.spec.name,
                found=other.spec.name,
            )
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        return Histogram(self.spec, self.counts + other.counts, **sums)

    def mean(self) -> float | None:
        """Mean of the values clipped to the spec's bounds; None without values."""
        return self.spec.real(self.total / self.finite) if self.finite else None

    def std(self) -> float | None:
        """Population standard deviation of the clipped values; None without values."""
        if not self.finite:
            return None
        n = self.finite
        variance = max(self.squares * n - self.total * self.total, 0) / (n * n)
        return math.sqrt(variance) / _FIXED_POINT * self.spec.width()

    def lag1(self) -> float | None:
        """Lag-1 autocorrelation over neighbouring frames; None where it is not defined."""
        n = self.finite
        if self.lag_pairs < 2 or n < 2:
            return None
        mean = self.total / n
        variance = self.squares / n - mean * mean
        if variance <= 0:
            return None
        covariance = (
            self.lag_products - mean * (self.lag_left + self.lag_right)
        ) / self.lag_pairs + mean * mean
        return max(-1.0, min(1.0, covariance / variance))

    def to_message(self) -> "HistogramMessage":
        """The wire form."""
        packed = zlib.compress(self.counts.astype("<u4").tobytes(), 6)
        sums = {name: getattr(self, name) for name in _SUMS}
        return HistogramMessage(
            spec=self.spec.name, counts=base64.b64encode(packed).decode(), **sums
        )


_SUMS = (
    "under", "over", "zeros", "non_finite", "total", "squares",
    "lag_pairs", "lag_products", "lag_left", "lag_right",
)  # fmt: skip


class HistogramMessage(Message):
    """Wire form: `counts` is base64 of zlib of 64 little-endian uint32."""

    spec: str = Field(max_length=64)
    counts: str = Field(max_length=1024)
    under: int = Field(default=0, ge=0)
    over: int = Field(default=0, ge=0)
    zeros: int = Field(default=0, ge=0)
    non_finite: int = Field(default=0, ge=0)
    total: int = Field(default=0, ge=0)
    squares: int = Field(default=0, ge=0)
    lag_pairs: int = Field(default=0, ge=0)
    lag_products: int = Field(default=0, ge=0)
    lag_left: int = Field(default=0, ge=0)
    lag_right: int = Field(default=0, ge=0)

    def histogram(self) -> Histogram:
        """The histogram. Raises ContractError for counts that do not unpack to 64 numbers."""
        histogram = Histogram.empty(self.spec)
        values: dict[str, Any] = {name: getattr(self, name) for name in _SUMS}
        return Histogram(histogram.spec, _unpack(self.counts), **values)


def _unpack(counts: str) -> NDArray[np.int64]:
    size = BINS * 4
    try:
        raw = base64.b64decode(counts, validate=True)
        # One byte more than allowed is enough to know that it is too long.
        data = zlib.decompressobj().decompress(raw, size + 1)
    except (ValueError, zlib.error) as error:
        raise ContractError("histogram counts do not unpack", found=str(error)) from error
    if len(data) != size:
        raise ContractError(
            "histogram counts have another size", expected=f"{size} bytes", found=f"{len(data)}"
        )
    return np.frombuffer(data, "<u4").astype(np.int64)
