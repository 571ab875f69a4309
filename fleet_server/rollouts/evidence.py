"""Reads a stage's numbers from the stored windows: what the gates judge on.

Windows count from when the server received them: devices' clocks may differ from its own.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlmodel import Session, col, select

from fleet_contract.windows import Arm, ShadowCounts
from fleet_server.rollouts.gates import ArmDevice, Counts, Pairs
from fleet_server.telemetry.models import WindowRow


def shadow_pairs(session: Session, line: str, candidate: str, since_s: float) -> dict[str, Pairs]:
    """Paired counts by device."""
    rows = session.exec(
        select(WindowRow).where(
            WindowRow.line == line,
            WindowRow.candidate == candidate,
            col(WindowRow.received_at) >= since_s,
        )
    )
    found: dict[str, Pairs] = {}
    for row in rows:
        counts = ShadowCounts.model_validate(row.body["shadow"])
        before = found.get(row.device, Pairs())
        found[row.device] = Pairs(
            before.pairs + counts.pairs,
            before.disagreements + counts.only_active_rejects + counts.only_candidate_rejects,
            before.faults + counts.faults,
            before.late + counts.late,
            before.shed + counts.shed,
        )
    return found


def history(
    session: Session, line: str, digest: str, *, until_s: float, span_s: float
) -> dict[str, Counts]:
    """What `digest` counted on each device of the line in the `span_s` before `until_s`."""
    found: dict[str, Counts] = defaultdict(Counts)
    for device, received_at, arms in _arms(session, line, until_s - span_s):
        if received_at < until_s:
            found[device] += _counts(arms.get(digest))
    return dict(found)


def arm_devices(
    session: Session,
    line: str,
    digests: dict[str, str],
    before: dict[str, Counts],
    *,
    since_s: float,
    bin_s: float,
) -> list[ArmDevice]:
    """The devices of one arm; `digests`: device -> the bundle that is judged there.

    `before`: their earlier counts. Bins are `bin_s` long and begin at `since_s`.
    """
    after: dict[str, dict[int, Counts]] = {device: {} for device in digests}
    for device, received_at, arms in _arms(session, line, since_s):
        if device in digests:
            index, bins = int((received_at - since_s) / bin_s), after[device]
            bins[index] = bins.get(index, Counts()) + _counts(arms.get(digests[device]))
    return [
        ArmDevice(
            device,
            before.get(device, Counts()),
            tuple(bins.get(index, Counts()) for index in range(max(bins, default=-1) + 1)),
        )
        for device, bins in sorted(after.items())
    ]


def _arms(
    session: Session, line: str, since_s: float
) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Device, time of receipt and `Window.arms` of the line's windows."""
    query = select(WindowRow.device, WindowRow.received_at, WindowRow.body).where(
        WindowRow.line == line, col(WindowRow.received_at) >= since_s
    )
    for device, received_at, body in session.exec(query):
        yield device, received_at, body["arms"]


def _counts(content: object) -> Counts:
    if content is None:
        return Counts()
    arm = Arm.model_validate(content)
    return Counts(arm.parts, arm.rejects, arm.no_decision, arm.late, arm.faults)
