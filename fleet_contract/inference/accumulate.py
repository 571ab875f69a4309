"""Builds a statistics window frame by frame: in the agent over time, in the trainer over a dataset."""

import numpy as np

from fleet_contract.histogram import Histogram
from fleet_contract.inference.features import FrameStatistics
from fleet_contract.names import Verdict
from fleet_contract.windows import FEATURES, THUMBNAIL_SIDE, Arm, ShadowCounts, Window


class ShadowAccumulator:
    """Paired counts of a candidate beside the active bundle, or beside who judges today."""

    def __init__(self, candidate: str, *, judge: bool = False) -> None:
        self._candidate, self._judge = candidate, judge
        self._counts = dict.fromkeys(
            ("pairs", "both_accept", "both_reject", "only_active_rejects",
             "only_candidate_rejects", "shed", "faults", "late", "unpaired"), 0,
        )  # fmt: skip
        self._difference = Histogram.empty("score_difference/1")
        self._latency = Histogram.empty("latency_ms/1")

    def pair(
        self, active: Verdict, candidate: Verdict, difference: float, latency_ms: float, late: bool
    ) -> None:
        """One part judged by both; `difference` is candidate's score minus active's."""
        rejects = (active is Verdict.REJECT, candidate is Verdict.REJECT)
        kind = {
            (False, False): "both_accept", (True, True): "both_reject",
            (True, False): "only_active_rejects", (False, True): "only_candidate_rejects",
        }[rejects]  # fmt: skip
        self._counts["pairs"] += 1
        self._counts[kind] += 1
        self._counts["late"] += late
        self._difference.add(difference)
        self._latency.add(latency_ms)

    def shed(self) -> None:
        """One part that there was no time for."""
        self._counts["shed"] += 1

    def fault(self) -> None:
        """One part on which the candidate failed."""
        self._counts["faults"] += 1

    def unpaired(self, count: int) -> None:
        """Parts and verdicts that found no partner."""
        self._counts["unpaired"] += count

    def result(self) -> ShadowCounts:
        """The counts so far."""
        return ShadowCounts(
            candidate=self._candidate,
            judge=self._judge,
            score_difference=self._difference.to_message(),
            latency_ms=self._latency.to_message(),
            **self._counts,
        )


class WindowAccumulator:
    """One window in the making; times are the caller's."""

    def __init__(
        self, line: str, camera: str, digest: str | None, start_s: float, recipe: str = ""
    ) -> None:
        self.line, self.camera, self.digest, self.start_s = line, camera, digest, start_s
        self.recipe = recipe
        self._features = {name: Histogram.empty(f"{name}/1") for name in FEATURES}
        self._score = Histogram.empty("score/1")
        self._latency = Histogram.empty("latency_ms/1")
        self._thumbnail = np.zeros(THUMBNAIL_SIDE**2, np.int64)
        self._frames = 0
        self._arms: dict[str, dict[str, int]] = {}
        self._undecided = 0
        self._first: int | None = None
        self._last: int | None = None
        self.shadow: ShadowAccumulator | None = None

    @property
    def parts(self) -> int:
        """Verdicts so far, undecided ones included."""
        return self._undecided + sum(arm["parts"] for arm in self._arms.values())

    @property
    def filled(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._frames or self.parts or self._score.finite or self.shadow)

    def frame(self, statistics: FrameStatistics) -> None:
        """One sampled frame."""
        for name, histogram in self._features.items():
            histogram.add(statistics.values[name])
        self._thumbnail += statistics.thumbnail
        self._frames += 1

    def verdict(
        self,
        number: int,
        verdict: Verdict,
        *,
        digest: str | None,
        score: float | None = None,
        latency_ms: float,
        late: bool = False,
        fault: bool = False,
    ) -> None:
        """One part's end; `digest` is the bundle that judged, None where none did."""
        self._first = number if self._first is None else min(self._first, number)
        self._last = number if self._last is None else max(self._last, number)
        if digest is None:
            self._undecided += 1
            return
        arm = self._arms.setdefault(
            digest, dict.fromkeys(("parts", "rejects", "no_decision", "late", "faults"), 0)
        )
        arm["parts"] += 1
        arm["rejects"] += verdict is Verdict.REJECT
        arm["no_decision"] += verdict is Verdict.NO_DECISION
        arm["late"] += late
        arm["faults"] += fault
        self._latency.add(latency_ms)
        if score is not None:
            self.score(digest, score)

    def score(self, digest: str, score: float) -> None:
        """What a bundle gave one picture; only the window's own bundle's scores are kept."""
        if digest == self.digest:
            self._score.add(score)

    def close(self, end_s: float) -> Window:
        """The window up to `end_s`."""
        undecided = Arm(parts=self._undecided, no_decision=self._undecided)
        return Window(
            line=self.line,
            camera=self.camera,
            recipe=self.recipe,
            digest=self.digest,
            start_s=self.start_s,
            end_s=end_s,
            first_part=self._first,
            last_part=self._last,
            sampled_frames=self._frames,
            features={name: h.to_message() for name, h in self._features.items()},
            thumbnail=[int(cell) for cell in self._thumbnail],
            score=self._score.to_message(),
            latency_ms=self._latency.to_message(),
            arms={digest: Arm(**counts) for digest, counts in self._arms.items()},
            undecided=undecided,
            shadow=self.shadow.result() if self.shadow else None,
        )
