"""Gathers a stage's numbers from the stored windows: what the gates judge on.

Windows count from when the server received them: devices' clocks may differ from its own. Each look
reads only what came since the last one; after a restart everything is read again.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, col, select

from fleet_contract.windows import Arm, ShadowCounts
from fleet_server.rollouts.gates import ArmDevice, Counts, Pairs
from fleet_server.telemetry.models import WindowRow


def history(
    session: Session, line: str, digest: str, *, until_s: float, span_s: float
) -> dict[str, Counts]:
    """What `digest` counted on each device of the line in the `span_s` before `until_s`."""
    query = select(WindowRow.device, WindowRow.body).where(
        WindowRow.line == line,
        col(WindowRow.received_at) >= until_s - span_s,
        col(WindowRow.received_at) < until_s,
    )
    found: dict[str, Counts] = defaultdict(Counts)
    for device, body in session.exec(query):
        found[device] += _counts(body["arms"].get(digest))
    return dict(found)


class StageEvidence:
    """Counts of one line since a stage began, by device and bundle, in bins of `bin_s` seconds."""

    def __init__(
        self, line: str, candidate: str, *, judged: bool, since_s: float, bin_s: float
    ) -> None:
        """`judged`: no bundle is the champion, and pairs are with those who judge today."""
        self._line, self._candidate, self._judged = line, candidate, judged
        self._since_s, self._bin_s = since_s, bin_s
        self._last = 0
        self._bins: dict[tuple[str, str], dict[int, Counts]] = defaultdict(dict)
        self.pairs: dict[str, Pairs] = {}
        """Shadow counts of the candidate, by device."""

    def read(self, session: Session) -> None:
        """Adds the windows that came since the last call."""
        query = (
            select(WindowRow.id, WindowRow.device, WindowRow.received_at, WindowRow.body)
            .where(
                WindowRow.line == self._line,
                col(WindowRow.id) > self._last,
                col(WindowRow.received_at) >= self._since_s,
            )
            .order_by(col(WindowRow.id))
        )
        for number, device, received_at, body in session.exec(query):
            self._last = number or self._last
            self._add(device, int((received_at - self._since_s) / self._bin_s), body)

    def _add(self, device: str, index: int, body: Mapping[str, Any]) -> None:
        for digest, arm in body["arms"].items():
            bins = self._bins[device, digest]
            bins[index] = bins.get(index, Counts()) + _counts(arm)
        shadow = body.get("shadow")
        if shadow and shadow["candidate"] == self._candidate:
            counts = ShadowCounts.model_validate(shadow)
            if counts.judge == self._judged:
                self.pairs[device] = self.pairs.get(device, Pairs()) + _pairs(counts)

    def arm(self, digests: dict[str, str], before: dict[str, Counts]) -> list[ArmDevice]:
        """The devices of one arm; `digests`: device -> bundle, `before`: their earlier counts."""
        found = []
        for device, digest in sorted(digests.items()):
            bins = self._bins.get((device, digest), {})
            span = range(max(bins, default=-1) + 1)
            counted = tuple(bins.get(index, Counts()) for index in span)
            found.append(ArmDevice(device, before.get(device, Counts()), counted))
        return found


def _counts(content: object) -> Counts:
    if content is None:
        return Counts()
    arm = Arm.model_validate(content)
    return Counts(arm.parts, arm.rejects, arm.no_decision, arm.late, arm.faults)


def _pairs(counts: ShadowCounts) -> Pairs:
    disagreements = counts.only_active_rejects + counts.only_candidate_rejects
    return Pairs(
        counts.pairs, disagreements, counts.faults, counts.late, counts.shed,
        counts.both_reject, counts.only_candidate_rejects, counts.unpaired,
    )  # fmt: skip
