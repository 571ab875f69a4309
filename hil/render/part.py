"""One part from its specification: body, then defects, then truth."""

from typing import Final

import cv2
import numpy as np

from hil.render.bank import bank_for
from hil.render.body import draw_body
from hil.render.defects import paint, pick_kinds
from hil.render.spec import DefectKind, PartSpec, RenderedPart, Truth, check_size

# Independent random streams of one part: its defects never move anything else.
BODY_STREAM: Final = 0
DEFECT_STREAM: Final = 1


def render_part(spec: PartSpec, size: int = 256) -> RenderedPart:
    """Render one watch-case back.

    The same specification and size give the same bytes. The image is uint8 [size, size, 3] RGB
    under the default light; the mask uint8 [size, size] 0/255 holds exactly the pixels that
    defects changed. Raises ConfigError for a size out of range.
    """
    check_size(size)
    body_rng = np.random.default_rng([spec.seed, spec.number, BODY_STREAM])
    defect_rng = np.random.default_rng([spec.seed, spec.number, DEFECT_STREAM])
    image = draw_body(bank_for(size), spec.number, body_rng)
    mask = np.zeros((size, size), np.uint8)
    defects = []
    for kind in _kinds(spec, defect_rng):
        defect, own = paint(image, kind, defect_rng)
        defects.append(defect)
        mask = np.asarray(cv2.bitwise_or(mask, own), dtype=np.uint8)
    defects.sort(key=lambda defect: defect.area_px, reverse=True)
    truth = Truth(spec.seed, spec.number, bool(defects), tuple(defects))
    return RenderedPart(image, mask, truth)


def _kinds(spec: PartSpec, rng: np.random.Generator) -> tuple[DefectKind, ...]:
    defective = rng.random() < spec.defect_rate
    drawn = pick_kinds(rng)
    if spec.kind is not None:
        return (spec.kind,)
    return drawn if defective else ()
