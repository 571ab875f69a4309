"""Labels: classes without images, one picture under two labels, people who disagree."""

from collections import defaultdict

from fleet_contract.dataset import GOOD
from trainer.data.checks.finding import Evidence, Finding, counted, found, name_of
from trainer.data.scan import Seen


def check_classes(evidence: Evidence) -> list[Finding]:
    """Classes that are not there, or on one side only."""
    sides: dict[str, set[str]] = defaultdict(set)
    for item in evidence.version.items:
        sides[item.label].add(item.split)
    missing = sorted((evidence.classes | {GOOD}) - set(sides))
    only = {side: sorted(label for label, on in sides.items() if on == {side} and label != GOOD)
            for side in ("train", "holdout")}  # fmt: skip
    good_only = [] if set(sides) - {GOOD} else [GOOD]
    return [
        *found("error", "class-empty", f"classes without an image: {', '.join(missing)}", missing,
               "Add images of them, or correct the class's name."),
        *found("warning", "class-not-trained", f"held out but never trained on: "
               f"{', '.join(only['holdout'])}", only["holdout"], "Add images of other parts."),
        *found("warning", "class-not-measured", f"trained on but nowhere held out: "
               f"{', '.join(only['train'])}", only["train"],
               "Add images of other parts: nothing is measured of these classes."),
        *found("note", "class-good-only", "no defect is there: nothing measures what escapes",
               good_only, "Add a few defective parts, to measure with."),
    ]  # fmt: skip


def check_same_pictures(evidence: Evidence) -> list[Finding]:
    """The same picture twice: pixel for pixel, whatever the file format."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for twin in _twins(evidence):
        for kind in _unlike(twin):
            kinds[kind].append(" = ".join(name_of(one.item) for one in twin))
    labels, sides, parts, plain = (kinds[kind] for kind in ("label", "split", "group", ""))
    return [
        *found("error", "same-picture-labels",
               f"{counted(len(labels), 'picture', 'pictures')} with two labels",
               labels, "Decide which label is right."),
        *found("error", "same-picture-sides",
               f"{counted(len(sides), 'picture', 'pictures')} both trained on and held out",
               sides,
               "Give both the same part (--group), or leave one out."),
        *found("warning", "same-picture-parts",
               f"{counted(len(parts), 'picture', 'pictures')} under two parts",
               parts, "Give both the same part (--group)."),
        *found("note", "same-picture",
               f"{counted(len(plain), 'picture', 'pictures')} more than once",
               plain, "Leave the copies out: they count double."),
    ]  # fmt: skip


def check_alike(evidence: Evidence) -> list[Finding]:
    """Near-duplicates under different parts: on both sides, or with different labels."""
    pairs = [
        (one, other)
        for one, other in (
            (evidence.seen[p.first], evidence.seen[p.second]) for p in evidence.pairs
        )
        if one.item.group != other.item.group and _picture(one) != _picture(other)
    ]
    sides = [
        f"{name_of(a.item)} = {name_of(b.item)}" for a, b in pairs if a.item.split != b.item.split
    ]
    labels = [
        f"{name_of(a.item)} = {name_of(b.item)}" for a, b in pairs if a.item.label != b.item.label
    ]
    return [
        *found("warning", "alike-across-sides",
               f"{counted(len(sides), 'pair', 'pairs')} of pictures look like one part but for the "
               "light, one trained on and one held out", sides,
               "Look at them; where it is one part, name it (--group), or let parts be proposed "
               "(--group auto)."),
        *found("warning", "alike-labels",
               f"{counted(len(labels), 'pair', 'pairs')} of pictures look alike but have different "
               "labels", labels, "Look at them: is one of the labels wrong, or the defect small?"),
    ]  # fmt: skip


def check_appraisals(evidence: Evidence) -> list[Finding]:
    """Images on which people disagree, or whose label none of them gave."""
    items = [item for item in evidence.version.items if item.appraisals]
    split = [name_of(item) for item in items if len(set(item.appraisals.values())) > 1]
    other = [name_of(item) for item in items if item.label not in item.appraisals.values()]
    share = f"{len(split) / len(items):.0%}" if items else ""
    return [
        *found("warning", "appraisals-disagree",
               f"people disagree on {counted(len(split), 'image', 'images')}, {share} of those that "
               "more than one judged", split,
               "Let them decide together; no model can be better than that."),
        *found("warning", "appraisals-label",
               f"{counted(len(other), 'image', 'images')} with a label that nobody gave", other,
               "Correct the label, or add who decided."),
    ]  # fmt: skip


def _twins(evidence: Evidence) -> list[list[Seen]]:
    """Images that are the same picture, two or more."""
    twins: dict[str, list[Seen]] = defaultdict(list)
    for one in evidence.readable:
        twins[_picture(one)].append(one)
    return [twin for twin in twins.values() if len(twin) > 1]


def _picture(one: Seen) -> str:
    """What the picture is; the file, where its pixels were not all decoded."""
    return one.image.pixels or one.item.sha256


def _unlike(twin: list[Seen]) -> list[str]:
    """In what the copies differ, by name of the field; only "" where in nothing."""
    labels = len({one.item.label for one in twin}) > 1
    sides = len({one.item.split for one in twin}) > 1
    parts = len({one.item.group for one in twin}) > 1 and not sides
    kinds = {"label": labels, "split": sides, "group": parts}
    return [kind for kind, differs in kinds.items() if differs] or [""]
