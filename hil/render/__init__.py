"""Renders watch-case backs with exact truth about their defects."""

from hil.render.part import render_part
from hil.render.spec import (
    DEFECT_KINDS,
    Defect,
    DefectKind,
    PartSpec,
    RenderedPart,
    Truth,
)

__all__ = [
    "DEFECT_KINDS",
    "Defect",
    "DefectKind",
    "PartSpec",
    "RenderedPart",
    "Truth",
    "render_part",
]
