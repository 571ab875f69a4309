"""What a device may run: the targets on which director and image repository agree. No IO.

Both have been verified as TUF metadata before; here the two are compared, as in Uptane (IEEE-ISTO
6100.1, full verification), and with what the device knows of itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tuf.api.metadata import TargetFile, Targets

from fleet_contract.errors import TrustError
from fleet_contract.trust.custom import (
    SIGNED_FIELD,
    Assignment,
    DirectorFields,
    ImageCustom,
    ImageFields,
    target_name,
)

MAX_TARGET_BYTES = 2**30


class AssignmentError(TrustError):
    """One assignment is refused; says which, so that the refusal can be reported with its digest."""

    def __init__(
        self, what: str, *, line: str, digest: str, rollout: str, attempt: int, remedy: str = ""
    ) -> None:
        self.line, self.digest, self.rollout, self.attempt = line, digest, rollout, attempt
        super().__init__(what, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Agreed:
    """A bundle that both repositories give to this device."""

    line: str
    digest: str
    """SHA-256 of the uncompressed archive, lower-case hex: the bundle's digest."""
    length: int
    """Bytes of the uncompressed archive."""
    sha256: str
    """The same digest, as TUF's target carries it."""
    assignment: Assignment
    image: ImageCustom


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What the device knows of itself."""

    name: str
    hardware: str
    epoch_floor: Callable[[str], int]
    """Line -> lowest epoch that the device still takes."""


def agree(director: Targets, image: Targets, device: DeviceFacts) -> list[Agreed]:
    """The assignments of `device`, at most one a line, sorted by line.

    Raises TrustError for metadata of another device, AssignmentError (a TrustError) for the first
    assignment on which the two disagree, that is for other hardware, or lies below a floor.
    """
    named = DirectorFields.of(director.unrecognized_fields.get(SIGNED_FIELD))
    if named.device != device.name:
        raise TrustError(
            "the director's assignments are those of another device",
            expected=device.name,
            found=named.device,
            remedy="A mix-up or an attack on the way; nothing was changed.",
        )
    floors = ImageFields.of(image.unrecognized_fields.get(SIGNED_FIELD, {})).min_epoch
    agreed = [
        _agreed(target, image.targets.get(path), device, floors)
        for path, target in sorted(director.targets.items())
    ]
    lines = [entry.line for entry in agreed]
    if len(set(lines)) != len(lines):
        raise TrustError("the director gives one line two bundles", found=", ".join(lines))
    return agreed


def _agreed(
    target: TargetFile, image: TargetFile | None, device: DeviceFacts, floors: dict[str, int]
) -> Agreed:
    assignment = Assignment.of(target.custom)
    digest = target.hashes.get("sha256", "")

    def refused(what: str, remedy: str = "") -> AssignmentError:
        return AssignmentError(
            f"bundle {digest[:12]} for line {assignment.line} is refused: {what}",
            line=assignment.line,
            digest=digest,
            rollout=assignment.rollout,
            attempt=assignment.attempt,
            remedy=remedy,
        )

    if target.path != target_name(assignment.line, digest):
        raise refused(f"its target is called {target.path}")
    if not 0 < target.length <= MAX_TARGET_BYTES:
        raise refused(f"its length is {target.length} bytes")
    if image is None:
        raise refused(
            "the director assigns it, the image repository does not know it",
            "It has not been approved by both keys.",
        )
    if image.length != target.length or image.hashes != target.hashes:
        raise refused("director and image repository disagree about its length or digest")
    custom = ImageCustom.of(image.custom)
    if custom.line != assignment.line:
        raise refused(f"the image repository says that it is for line {custom.line}")
    if device.hardware not in custom.hardware and "*" not in custom.hardware:
        raise refused(
            f"it is built for {', '.join(custom.hardware)}, this device is {device.hardware}"
        )
    lowest = max(floors.get(custom.line, 0), device.epoch_floor(custom.line))
    if custom.epoch < lowest:
        raise refused(f"its epoch {custom.epoch} lies below the lowest allowed, {lowest}")
    return Agreed(custom.line, digest, target.length, digest, assignment, custom)
