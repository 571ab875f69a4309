"""A dataset version: an immutable list of images with labels, addressed by the digest of its JSON.

Files lie in a store by SHA-256 (the trainer's folder, the server's store). A version names its
parent; a holdout item never becomes a training item, and groups never stand on both sides.
"""

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fleet_contract.errors import DataError
from fleet_contract.messages import first_problem
from fleet_contract.names import Digest, LineName

GOOD = "good"
"""The label of a part without defect; every other label is a class of defect."""


MASK_SOMEWHERE, MASK_DEFECT = 128, 255
"""Values of a mask beside 0: somewhere in this box is a defect; this pixel is defective."""


class Region(BaseModel):
    """One marked defect of an image."""

    model_config = ConfigDict(extra="allow", frozen=True)

    label: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    box: tuple[int, int, int, int]
    """Left, top, width, height in pixels of the image."""
    exact: bool
    """Whether the mask shows its pixels (255), or only its box (128)."""


class DatasetItem(BaseModel):
    """One image."""

    model_config = ConfigDict(extra="allow", frozen=True)

    sha256: Digest
    label: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    mask: Digest | None = None
    """SHA-256 of a mask image (PNG, grey, size of the image): 0 is clean, `MASK_DEFECT` defective,
    `MASK_SOMEWHERE` a box that holds a defect; None: only the label is known."""
    regions: tuple[Region, ...] = ()
    """The marked defects one by one, where the source told them apart; the mask holds all of them."""
    group: str = Field(min_length=1, max_length=200)
    """The physical part; all images of one part stand on one side of the split."""
    split: Literal["train", "holdout"]
    slices: dict[str, str] = Field(default_factory=dict)
    """What results are reported by: exposure, camera, station, light, ..."""
    appraisals: dict[str, str] = Field(default_factory=dict)
    """What people said of the image, label by name, where more than one labelled it."""
    source: str = ""
    """Where it came from: a file name, or a part `device:spool:number`."""


class DatasetVersion(BaseModel):
    """The manifest of a dataset version."""

    model_config = ConfigDict(extra="allow", frozen=True)

    v: Literal[1] = 1
    line: LineName
    parent: Digest | None = None
    reason: str = Field(max_length=500)
    """Why the version was made: `import of FOLDER`, `incident 3`, ..."""
    channels: Literal[1, 3]
    depth: Literal[8, 16] = 8
    """Bits of a channel."""
    thawed: str = Field(default="", max_length=500)
    """Why the holdout of its parents no longer holds; empty: it is frozen, and only grows."""
    items: list[DatasetItem] = Field(min_length=1)

    @model_validator(mode="after")
    def _sides(self) -> Self:
        sides: dict[str, str] = {}
        for item in self.items:
            if sides.setdefault(item.group, item.split) != item.split:
                raise ValueError(f"part {item.group!r} stands on both sides of the split")
        return self

    def canonical(self) -> bytes:
        """The JSON that the digest is of: sorted keys, no blanks, items sorted by source and digest."""
        content = self.model_dump(mode="json")
        _drop_defaults(content)
        content["items"].sort(key=lambda item: (item["source"], item["sha256"]))
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()

    def digest(self) -> str:
        """SHA-256 of `canonical()`, lower-case hex."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def side(self, split: Literal["train", "holdout"]) -> list[DatasetItem]:
        """The items of one side."""
        return [item for item in self.items if item.split == split]

    def extend(self, items: list[DatasetItem], reason: str) -> "DatasetVersion":
        """A new version with more items, this one as its parent.

        An image that is there already is left out. Raises DataError where a part would change sides.
        """
        known = {item.sha256 for item in self.items}
        fresh = [item for item in items if item.sha256 not in known]
        return parse_version(
            DatasetVersion.model_construct(
                line=self.line,
                parent=self.digest(),
                reason=reason,
                channels=self.channels,
                depth=self.depth,
                items=[*self.items, *fresh],
            ).model_dump_json()
        )


def _drop_defaults(content: dict[str, Any]) -> None:
    """Leaves out what versions before these fields did not have, so that their digests stay."""
    if content["depth"] == 8:
        del content["depth"]
    if not content["thawed"]:
        del content["thawed"]
    for item in content["items"]:
        for name in ("regions", "appraisals"):
            if not item[name]:
                del item[name]


def parse_version(data: str | bytes) -> DatasetVersion:
    """The version in JSON `data`. Raises DataError that names the field that is wrong."""
    try:
        return DatasetVersion.model_validate_json(data)
    except ValidationError as error:
        raise DataError(f"not a dataset version: {first_problem(error)}") from error
