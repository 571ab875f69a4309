"""Files by themselves: can they be read, do masks fit, does the line's schema hold."""

from collections.abc import Callable

from fleet_contract.dataset import GOOD
from trainer.data.checks.finding import Evidence, Finding, Severity, counted, found, name_of
from trainer.data.scan import MaskFacts, Seen

Problem = Callable[[Seen], str | None]
"""What is wrong with one image; None where nothing is."""


def check_readable(evidence: Evidence) -> list[Finding]:
    """Images and masks that are missing, damaged, or of one colour."""
    return [
        *_each(evidence, "error", "unreadable", "that cannot be read",
               lambda one: one.image.problem or None,
               "Import the file again, or leave it out."),
        *_each(evidence, "error", "unreadable-mask", "whose mask cannot be read",
               lambda one: one.mask.problem or None if one.mask else None,
               "Import the mask again, or leave it out: the label alone trains as well."),
        *_each(evidence, "error", "blank", "of one colour",
               lambda one: None if one.image.problem or one.image.contrast > 0
               else f"every pixel is {one.image.mean:.0f}",
               "Look at the camera and its lens cap, and leave the file out."),
    ]  # fmt: skip


def check_masks(evidence: Evidence) -> list[Finding]:
    """Masks that do not fit their image or its label."""
    return [
        *_each(evidence, "error", "mask-size", "whose mask has another size", _wrong_size,
               "Export the mask at the size of its image."),
        *_each(evidence, "error", "mask-on-good", "that are good but have marked defects",
               lambda one: "marked" if one.item.label == GOOD and _marked(one) else None,
               "Correct the label, or clear the mask."),
        *_each(evidence, "warning", "mask-empty", "with a defect but an empty mask",
               lambda one: "nothing is marked" if _readable_mask(one) and not _marked(one)
               and one.item.label != GOOD else None,
               "Mark the defect, or leave the mask out: an empty one teaches that all is clean."),
        *_each(evidence, "error", "region-outside", "with a marked region outside of the picture",
               _outside, "Correct the box: left, top, width, height in pixels of the image."),
        *_each(evidence, "warning", "region-empty", "with a region that its mask does not show",
               _unshown, "Export regions and mask from the same annotation."),
    ]  # fmt: skip


def check_schema(evidence: Evidence) -> list[Finding]:
    """Images outside of the line's schema; a device gives no decision on such frames."""
    schema = evidence.schema
    low, high = schema.grey_range

    def sides(one: Seen) -> str | None:
        fits = schema.min_side <= min(_size(one)) and max(_size(one)) <= schema.max_side
        return None if fits else f"{one.image.width}x{one.image.height}"

    def grey(one: Seen) -> str | None:
        return None if low <= one.image.mean <= high else f"mean grey level {one.image.mean:.0f}"

    return [
        *_each(evidence, "error", "schema-size",
               f"outside of {schema.min_side} to {schema.max_side} pixels a side", _known(sides),
               "Leave them out, or change min_side and max_side of [input]."),
        *_each(evidence, "error", "schema-depth", f"that have not {schema.depth} bits",
               _known(lambda one: None if one.image.depth == schema.depth
                      else f"{one.image.depth} bits"),
               "Export all images with one depth."),
        *_each(evidence, "error", "schema-grey",
               f"whose mean grey level is outside of {low:g} to {high:g}", _known(grey),
               "Leave them out, or change the grey range of [input]."),
        *_each(evidence, "warning", "schema-channels", "in colour on a grey line",
               _known(lambda one: "colour" if one.image.channels > schema.channels else None),
               "Set the camera to grey, or import with --channels 3: a device refuses such frames."),
    ]  # fmt: skip


def _each(
    evidence: Evidence, severity: Severity, check: str, which: str, problem: Problem, remedy: str
) -> list[Finding]:
    """One finding about all images that have the problem, the first one's told."""
    said = [(name_of(one.item), text) for one in evidence.seen if (text := problem(one))]
    if not said:
        return []
    what = f"{counted(len(said), 'image', 'images')} {which}: {said[0][0]}: {said[0][1]}"
    return found(severity, check, what, [name for name, _ in said], remedy)


def _known(problem: Problem) -> Problem:
    return lambda one: None if one.image.problem else problem(one)


def _size(one: Seen) -> tuple[int, int]:
    return one.image.width, one.image.height


def _readable_mask(one: Seen) -> MaskFacts | None:
    return one.mask if one.mask is not None and not one.mask.problem else None


def _marked(one: Seen) -> bool:
    mask = _readable_mask(one)
    return mask is not None and bool(mask.defects)


def _wrong_size(one: Seen) -> str | None:
    mask = _readable_mask(one)
    if mask is None or one.image.problem or (mask.width, mask.height) == _size(one):
        return None
    return f"mask {mask.width}x{mask.height}, image {one.image.width}x{one.image.height}"


def _outside(one: Seen) -> str | None:
    if one.image.problem:
        return None
    for region in one.item.regions:
        left, top, width, height = region.box
        inside = left >= 0 and top >= 0 and width > 0 and height > 0
        if not inside or left + width > one.image.width or top + height > one.image.height:
            return f"box {region.box} in {one.image.width}x{one.image.height}"
    return None


def _unshown(one: Seen) -> str | None:
    mask = _readable_mask(one)
    if mask is None:
        return None
    for region, pixels in zip(one.item.regions, mask.regions, strict=False):
        if not pixels:
            return f"{region.label} at {region.box}"
    return None
