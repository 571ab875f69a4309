"""How far one device of a rollout is, from what it reports. No IO.

Two sources say the same thing: update events (each step, with its reason) and the signed state (what
is true now). Events may be late and a state may come without them, so either is enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleet_contract.messages import LineState, UpdateReport, UpdateStep
from fleet_contract.names import UpdateState

FAILED, SILENT = "failed", "silent"
_LOST = (UpdateState.FAILED, UpdateState.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class Target:
    """What the device is to reach."""

    digest: str
    rollout: str
    attempt: int
    slot: str
    share: float | None = None
    """Of the device's parts that a canary judges; None: all."""

    @property
    def ready(self) -> UpdateState:
        """The state in which the device does what it was asked for."""
        if self.slot == "shadow":
            return UpdateState.SHADOW
        return UpdateState.COMMITTED if self.share is None else UpdateState.CANARY

    def meant(self, report: UpdateStep | UpdateReport) -> bool:
        """Whether a report is about this attempt."""
        return (report.digest, report.rollout, report.attempt) == (
            self.digest, self.rollout, self.attempt,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeviceProgress:
    """State of the update on the device, and what failed."""

    state: str
    failure: str = ""
    reason: str = ""


def observe(
    before: DeviceProgress, target: Target, steps: Sequence[UpdateStep], line: LineState | None
) -> DeviceProgress:
    """The progress after `steps` (new ones, in order) and the latest signed state. A failure stays."""
    now = before
    for step in steps:
        if target.meant(step) and now.state != FAILED:
            now = _reported(now, target, step)
    if now.state == FAILED or line is None:
        return now
    if line.update and target.meant(line.update):
        now = _reported(now, target, line.update)
    if now.state != FAILED and _reached(target, line):
        return DeviceProgress(target.ready)
    if before.state == now.state == UpdateState.COMMITTED and not _runs(target, line):
        # Reported state wins over believed state: somebody took it back on the device.
        return DeviceProgress(FAILED, "rolled_back", "the device does not run it any more")
    return now


def _reported(
    before: DeviceProgress, target: Target, report: UpdateStep | UpdateReport
) -> DeviceProgress:
    if report.state in _LOST:
        return DeviceProgress(FAILED, report.failure or str(report.state), report.reason)
    if report.state in (UpdateState.IDLE, UpdateState.SUPERSEDED):
        return before
    if before.state == UpdateState.COMMITTED:
        # A state report may be older than the event that said it was done.
        return before
    if report.state == UpdateState.CANARY and report.share != target.share:
        # It still judges the share of the stage before.
        return before
    return DeviceProgress(report.state)


def _reached(target: Target, line: LineState) -> bool:
    under_way = line.update is not None and line.update.state not in (
        UpdateState.IDLE, UpdateState.COMMITTED, UpdateState.SHADOW,
        UpdateState.CANARY, UpdateState.SUPERSEDED, *_LOST,
    )  # fmt: skip
    if under_way:
        return False
    return _runs(target, line)


def _runs(target: Target, line: LineState) -> bool:
    beside = target.slot == "shadow" or target.share is not None
    place = line.candidate if beside else line.active
    return place is not None and (place.digest, place.share) == (target.digest, target.share)


def watch(
    progress: DeviceProgress,
    target: Target,
    *,
    waited_s: float,
    update_timeout_s: float,
    unheard_s: float | None,
    silent_timeout_s: float,
) -> DeviceProgress:
    """Marks a device silent that took too long, or was not heard of; lets it come back.

    `waited_s`: since it was assigned. `unheard_s`: since its last message, None where none ever came.
    """
    if progress.state == FAILED:
        return progress
    unheard = waited_s if unheard_s is None else min(unheard_s, waited_s)
    if unheard > silent_timeout_s:
        return replace(progress, failure=SILENT, reason=f"not heard of for {unheard:.0f} s")
    if progress.state != target.ready and waited_s > update_timeout_s:
        reason = f"still {progress.state} after {waited_s:.0f} s"
        return replace(progress, failure=SILENT, reason=reason)
    return replace(progress, failure="", reason="")
