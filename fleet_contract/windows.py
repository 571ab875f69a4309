"""Statistics windows: what a device saw and decided in one span, per line, camera, recipe and bundle.

A window merges with another of the same key into a longer one; merging is exact (see `histogram`).
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fleet_contract.errors import ContractError
from fleet_contract.histogram import HistogramMessage
from fleet_contract.messages import NAME_LENGTH, Message
from fleet_contract.names import Digest, Id, LineName

THUMBNAIL_SIDE = 8

FEATURES = (
    "mean", "std", "p01", "p99", "clip_low", "clip_high", "entropy", "sharpness", "noise",
    "edges", "rg", "bg", "saturation", "shift_x", "shift_y", "shift_response",
)  # fmt: skip
"""Image features of a window; the bin spec of feature `f` is `f/1`."""


class Arm(Message):
    """Counts of the parts that one bundle judged in a window."""

    parts: int = Field(default=0, ge=0)
    rejects: int = Field(default=0, ge=0)
    no_decision: int = Field(default=0, ge=0)
    late: int = Field(default=0, ge=0)
    """Verdicts after the line's deadline."""
    faults: int = Field(default=0, ge=0)
    """Errors of the runtime while judging."""

    def merge(self, other: "Arm") -> "Arm":
        """The sum of both."""
        names = ("parts", "rejects", "no_decision", "late", "faults")
        return Arm(**{name: getattr(self, name) + getattr(other, name) for name in names})


class ShadowCounts(Message):
    """Paired counts of a candidate on the frames of the active bundle."""

    candidate: Digest
    judge: bool = False
    """No bundle was active: the active bundle's counts are those of the people or the system that
    judge the line today."""
    unpaired: int = Field(default=0, ge=0)
    """Parts without a verdict of theirs in time, and verdicts of theirs without a part."""
    pairs: int = Field(default=0, ge=0)
    both_accept: int = Field(default=0, ge=0)
    both_reject: int = Field(default=0, ge=0)
    only_active_rejects: int = Field(default=0, ge=0)
    only_candidate_rejects: int = Field(default=0, ge=0)
    shed: int = Field(default=0, ge=0)
    """Parts that the candidate did not judge because the device had no time for it."""
    faults: int = Field(default=0, ge=0)
    late: int = Field(default=0, ge=0)
    score_difference: HistogramMessage
    """Candidate's score minus active's; of a judge, who gives no score, minus 1 for a reject and 0
    for an accept."""
    latency_ms: HistogramMessage
    """Of the candidate, preprocessing to score."""

    def merge(self, other: "ShadowCounts") -> "ShadowCounts":
        """The sum of both. Raises ContractError for another candidate."""
        if (self.candidate, self.judge) != (other.candidate, other.judge):
            raise ContractError("shadow counts of different candidates cannot be merged")
        names = ("unpaired", "pairs", "both_accept", "both_reject", "only_active_rejects",
                 "only_candidate_rejects", "shed", "faults", "late")  # fmt: skip
        return ShadowCounts(
            candidate=self.candidate,
            judge=self.judge,
            score_difference=merge_histograms(self.score_difference, other.score_difference),
            latency_ms=merge_histograms(self.latency_ms, other.latency_ms),
            **{name: getattr(self, name) + getattr(other, name) for name in names},
        )


class Window(Message):
    """One span on one device, line, camera, recipe and active bundle. Times are seconds since 1970."""

    line: LineName
    camera: Id
    """Where a camera gives several frames for a part, one of these views: `cam-1.2` is the second.
    Parts are counted in the windows of the first view alone."""
    recipe: str = Field(default="", max_length=NAME_LENGTH)
    """Of the parts that were judged by it; all others count where it is empty."""
    digest: Digest | None
    """Active bundle at the window's start; a swap closes the window."""
    start_s: float
    end_s: float
    first_part: int | None = None
    last_part: int | None = None
    sampled_frames: int = Field(ge=0)
    features: dict[str, HistogramMessage]
    thumbnail: list[int] = Field(max_length=THUMBNAIL_SIDE**2)
    """Sum over frames of an 8x8 mean-normalised picture, in 1/1000; row by row."""
    score: HistogramMessage
    latency_ms: HistogramMessage
    arms: dict[Digest, Arm]
    undecided: Arm = Arm()
    """Parts that no bundle judged (camera gap, no model)."""
    shadow: ShadowCounts | None = None

    def key(self) -> tuple[str, str, str, str | None, str | None]:
        """Windows merge only where this is equal."""
        return (
            self.line, self.camera, self.recipe, self.digest,
            self.shadow.candidate if self.shadow else None,
        )  # fmt: skip

    def mean_thumbnail(self) -> NDArray[np.float64] | None:
        """[8, 8] float64, mean 1 over its cells; None without frames."""
        if not self.sampled_frames or len(self.thumbnail) != THUMBNAIL_SIDE**2:
            return None
        cells = np.array(self.thumbnail, np.float64) / (1000 * self.sampled_frames)
        return cells.reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)

    def merge(self, other: "Window") -> Self:
        """One window of both, exact. Raises ContractError where the keys differ."""
        if self.key() != other.key():
            raise ContractError(
                "windows of different keys cannot be merged",
                expected=str(self.key()),
                found=str(other.key()),
            )
        return type(self)(
            line=self.line,
            camera=self.camera,
            recipe=self.recipe,
            digest=self.digest,
            start_s=min(self.start_s, other.start_s),
            end_s=max(self.end_s, other.end_s),
            first_part=_least(self.first_part, other.first_part),
            last_part=_greatest(self.last_part, other.last_part),
            sampled_frames=self.sampled_frames + other.sampled_frames,
            features=_merge_features(self.features, other.features),
            thumbnail=_add(self.thumbnail, other.thumbnail),
            score=merge_histograms(self.score, other.score),
            latency_ms=merge_histograms(self.latency_ms, other.latency_ms),
            arms=_merge_arms(self.arms, other.arms),
            undecided=self.undecided.merge(other.undecided),
            shadow=self.shadow.merge(other.shadow) if self.shadow and other.shadow else None,
        )


def merge_histograms(left: HistogramMessage, right: HistogramMessage) -> HistogramMessage:
    """Wire form of both. Raises ContractError for different specs."""
    return left.histogram().merge(right.histogram()).to_message()


def _merge_features(
    left: dict[str, HistogramMessage], right: dict[str, HistogramMessage]
) -> dict[str, HistogramMessage]:
    merged = {**left, **right}
    for name in left.keys() & right.keys():
        merged[name] = merge_histograms(left[name], right[name])
    return merged


def _merge_arms(left: dict[Digest, Arm], right: dict[Digest, Arm]) -> dict[Digest, Arm]:
    return {
        name: left.get(name, Arm()).merge(right.get(name, Arm()))
        for name in sorted(left.keys() | right.keys())
    }


def _add(left: list[int], right: list[int]) -> list[int]:
    if not left or not right:
        return left or right
    return [a + b for a, b in zip(left, right, strict=True)]


def _least(left: int | None, right: int | None) -> int | None:
    return min((x for x in (left, right) if x is not None), default=None)


def _greatest(left: int | None, right: int | None) -> int | None:
    return max((x for x in (left, right) if x is not None), default=None)
