"""What Loupe adds to TUF metadata: the `custom` of targets and the fields of our own.

Target name in both repositories: `{line}/{digest}.tar`, the bundle's uncompressed archive.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fleet_contract.errors import TrustError
from fleet_contract.messages import first_problem
from fleet_contract.names import DeviceName, Digest, Id, LineName

IMAGE, DIRECTOR = "image", "director"
"""The two repositories, as in Uptane."""
IMAGE_THRESHOLD = 2
"""Signatures on the image repository's targets: the pipeline's and a human approver's."""

SIGNED_FIELD = "loupe"
"""Key of our own fields beside TUF's in a signed `targets` or `timestamp`."""


class Custom(BaseModel):
    """Immutable; fields of later versions are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @classmethod
    def of(cls, value: object) -> Self:
        """Raises TrustError where signed metadata does not hold what it must."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise TrustError(f"signed metadata is not usable: {first_problem(error)}") from error


class Encoding(Custom):
    """A wire encoding of the archive: how to fetch it and how to know each block."""

    kind: Literal["zstd"]
    digest: Digest
    length: int = Field(ge=1, le=2**30)
    block_size: int = Field(ge=1024, le=256 * 1024)
    hashes_digest: Digest
    """SHA-256 of the list of block hashes."""


class ImageCustom(Custom):
    """`custom` of a target in the image repository: what the bundle is, signed by both keys."""

    line: LineName
    epoch: int = Field(ge=1)
    hardware: list[str]
    encodings: list[Encoding] = Field(min_length=1)


class Assignment(Custom):
    """`custom` of a target in the director repository: what one device is to do with the bundle."""

    line: LineName
    slot: Literal["active", "shadow", "canary"]
    """`active` and `canary` replace the active bundle; `shadow` runs beside it. A canary is
    reported apart and goes back on the device's own probation like any other; with a share it
    judges only so many of the device's parts, and the active bundle the others."""
    rollout: Id
    attempt: int = Field(ge=1)
    share_permille: int | None = Field(default=None, ge=1, le=999)
    """Parts in a thousand that a canary judges, as canonical JSON has no fractions; absent: all."""

    @model_validator(mode="after")
    def _of_a_canary(self) -> Self:
        if self.share_permille is not None and self.slot != "canary":
            raise ValueError("a share is for the slot canary")
        return self

    @property
    def share(self) -> float | None:
        """Of the parts that a canary judges, in (0, 1); None: all."""
        return None if self.share_permille is None else self.share_permille / 1000


class ImageFields(Custom):
    """Fields of our own in the image repository's signed targets."""

    min_epoch: dict[LineName, int] = Field(default_factory=dict)


class DirectorFields(Custom):
    """Fields of our own in the director's signed targets."""

    device: DeviceName


class TimestampFields(Custom):
    """Fields of our own in a signed timestamp: whole seconds, as canonical JSON has no fractions."""

    issued_s: int = Field(ge=0)
    """When it was signed, in seconds since 1970: what a device without a clock may rely on."""


def target_name(line: str, digest: str) -> str:
    """Name of a bundle's target in both repositories."""
    return f"{line}/{digest}.tar"
