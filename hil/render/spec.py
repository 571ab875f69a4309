"""What may be rendered, and what is known about it afterwards."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import ConfigError

DefectKind: TypeAlias = Literal["scratch_fine", "scratch_deep", "scratch_cluster", "dent", "stain"]
DEFECT_KINDS: Final[tuple[DefectKind, ...]] = get_args(DefectKind)

Image: TypeAlias = NDArray[np.uint8]  # [H, W, 3], RGB
Mask: TypeAlias = NDArray[np.uint8]  # [H, W], 0 or 255
Plane: TypeAlias = NDArray[np.float32]  # [H, W]

MIN_SIZE: Final = 64
MAX_SIZE: Final = 2048


@dataclass(frozen=True)
class PartSpec:
    """One physical part, fully decided by (seed, number).

    `defect_rate` is the share of parts with defects, 0..1. `kind` makes every part bear one defect
    of that kind instead. The body of the part is the same whatever the two say.
    Raises ConfigError for values out of range.
    """

    seed: int
    number: int
    defect_rate: float = 0.25
    kind: DefectKind | None = None

    def __post_init__(self) -> None:
        check_rate("defect rate", self.defect_rate)
        if self.seed < 0 or self.number < 0:
            raise ConfigError(
                "a part cannot be rendered",
                expected="a seed and a part number of 0 or more",
                found=f"seed {self.seed}, number {self.number}",
                remedy="give whole numbers that are not negative",
            )
        if self.kind is not None and self.kind not in DEFECT_KINDS:
            raise ConfigError(
                "unknown kind of defect",
                expected=", ".join(DEFECT_KINDS),
                found=repr(self.kind),
                remedy="name one of the kinds",
            )


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect: kind, bounding box (x, y, width, height) and area, in pixels of the image."""

    kind: DefectKind
    bbox: tuple[int, int, int, int]
    area_px: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true about a part; `defects` come largest first."""

    seed: int
    number: int
    defective: bool
    defects: tuple[Defect, ...]

    @property
    def label(self) -> str:
        """ "good", or the kind of the largest defect."""
        return self.defects[0].kind if self.defects else "good"


@dataclass(frozen=True)
class RenderedPart:
    """A part under the default light: image uint8 [H, W, 3] RGB, mask uint8 [H, W] 0/255."""

    image: Image
    mask: Mask
    truth: Truth


def check_rate(name: str, value: float) -> None:
    """Raise ConfigError unless `value` is a share from 0 to 1."""
    if not 0.0 <= value <= 1.0:
        raise ConfigError(
            f"the {name} is out of range",
            expected="a share from 0 to 1",
            found=f"{value:g}",
            remedy="write 0.25 for 25 %",
        )


def check_size(size: int) -> None:
    """Raise ConfigError unless `size` is a usable side length in pixels."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ConfigError(
            "the image size is out of range",
            expected=f"a side of {MIN_SIZE} to {MAX_SIZE} pixels",
            found=f"{size}",
            remedy="256 is the usual size",
        )
