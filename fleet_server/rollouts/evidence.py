"""Reads a stage's numbers from the stored windows: what the gates judge on.

Windows count from when the server received them: devices' clocks may differ from its own.
"""

from collections import defaultdict
from collections.abc import Collection

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


def arm_devices(
    session: Session,
    line: str,
    digests: dict[str, str],
    *,
    earlier: str | None,
    since_s: float,
    history_s: float,
    bin_s: float,
) -> list[ArmDevice]:
    """The devices of one arm; `digests`: device -> the bundle that is judged there.

    Their earlier counts are those of bundle `earlier` in the `history_s` before `since_s`.
    """
    before: dict[str, Counts] = defaultdict(Counts)
    after: dict[str, dict[int, Counts]] = defaultdict(lambda: defaultdict(Counts))
    for row in _windows(session, line, digests, since_s - history_s):
        arms = row.body["arms"]
        if row.received_at < since_s:
            before[row.device] += _counts(arms.get(earlier))
        else:
            index = int((row.received_at - since_s) / bin_s)
            after[row.device][index] += _counts(arms.get(digests[row.device]))
    return [
        ArmDevice(
            device,
            before[device],
            tuple(after[device][index] for index in range(max(after[device], default=-1) + 1)),
        )
        for device in sorted(digests)
    ]


def _windows(
    session: Session, line: str, devices: Collection[str], since_s: float
) -> list[WindowRow]:
    query = select(WindowRow).where(
        WindowRow.line == line,
        col(WindowRow.device).in_(list(devices)),
        col(WindowRow.received_at) >= since_s,
    )
    return list(session.exec(query.order_by(col(WindowRow.received_at))))


def _counts(content: object) -> Counts:
    if content is None:
        return Counts()
    arm = Arm.model_validate(content)
    return Counts(arm.parts, arm.rejects, arm.no_decision, arm.late, arm.faults)
