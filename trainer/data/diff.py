"""What changed between two dataset versions, image by image."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from fleet_contract.dataset import DatasetItem, DatasetVersion

FIELDS: dict[str, tuple[str, Callable[[DatasetItem], Any]]] = {
    "relabelled": ("label", lambda item: item.label),
    "remasked": ("mask", lambda item: (item.mask, item.regions)),
    "moved": ("split", lambda item: item.split),
    "regrouped": ("group", lambda item: item.group),
    "resliced": ("slices", lambda item: dict(sorted(item.slices.items()))),
    "appraised": ("appraisals", lambda item: dict(sorted(item.appraisals.items()))),
}
"""Kind of change: the field that it is of, and its value."""


class Change(BaseModel):
    """One image that one version has and the other has not, or has otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str
    """As the source named it."""
    sha256: str
    part: str
    label: str
    """In the newer version, or in the older one for an image that was removed."""
    split: str
    before: str = ""
    after: str = ""
    """Of what changed; empty for what was added or removed."""


class Difference(BaseModel):
    """From version `old` to version `new`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    old: str
    new: str
    """Digests."""
    added: list[Change]
    removed: list[Change]
    changed: dict[str, list[Change]]
    """By kind: relabelled, remasked, moved (to the other side), regrouped (to another part),
    resliced, appraised."""
    moved_parts: list[str]
    """Parts all of whose images in both versions changed sides."""

    def summary(self) -> str:
        """In a few words: `+12 -3, 2 relabelled`; `nothing` where nothing changed."""
        counts = [f"+{len(self.added)}"] if self.added else []
        counts += [f"-{len(self.removed)}"] if self.removed else []
        kinds = [f"{len(found)} {kind}" for kind, found in self.changed.items() if found]
        return ", ".join([*([" ".join(counts)] if counts else []), *kinds]) or "nothing"


def diff(old: DatasetVersion, new: DatasetVersion) -> Difference:
    """What was added, removed and changed; an image is the same where its bytes are."""
    before = {item.sha256: item for item in old.items}
    after = {item.sha256: item for item in new.items}
    both = [(before[name], item) for name, item in after.items() if name in before]
    changed = {
        kind: [_change(new_item, field, value(old_item), value(new_item))
               for old_item, new_item in both if value(old_item) != value(new_item)]
        for kind, (field, value) in FIELDS.items()
    }  # fmt: skip
    stayed = {item.group for one, item in both if one.split == item.split}
    return Difference(
        old=old.digest(),
        new=new.digest(),
        added=_sorted([_change(item) for name, item in after.items() if name not in before]),
        removed=_sorted([_change(item) for name, item in before.items() if name not in after]),
        changed={kind: _sorted(found) for kind, found in changed.items()},
        moved_parts=sorted({change.part for change in changed["moved"]} - stayed),
    )


def _change(item: DatasetItem, field: str = "", before: Any = None, after: Any = None) -> Change:
    told = (_told(field, before), _told(field, after)) if field else ("", "")
    return Change(image=item.source or item.sha256[:12], sha256=item.sha256, part=item.group,
                  label=item.label, split=item.split, before=told[0], after=told[1])  # fmt: skip


def _told(field: str, value: Any) -> str:
    if field == "mask":
        mask, regions = value
        shown = mask[:12] if mask else "none"
        return f"{shown}, {len(regions)} regions" if regions else shown
    if isinstance(value, dict):
        return " ".join(f"{name}={text}" for name, text in value.items()) or "none"
    return str(value)


def _sorted(changes: list[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: (change.image, change.sha256))
