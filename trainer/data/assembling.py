"""From kept images to a version: schema, parts, slices, sides; new, or as more images of a version."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fleet_contract.dataset import GOOD, DatasetItem, DatasetVersion
from fleet_contract.errors import DataError
from trainer.data.formats.reading import Findings
from trainer.data.grouping import Known, Naming, Picture, group_names, slices_of
from trainer.data.keeping import Kept
from trainer.data.scan import scan
from trainer.data.split import choose_groups, group_labels, group_traits
from trainer.data.store import Store

Side = Literal["train", "holdout"]
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What a version is to be."""

    line: str
    reason: str
    holdout: float
    """Share of the parts that are held out, in (0, 1)."""
    seed: int
    channels: Literal[1, 3] | None
    """None: as the images are."""
    keep_split: bool
    """Whether the sides are the source's."""
    naming: Naming


class Assembly:
    """Puts a version together. `parent` is the version that the images are added to, if any."""

    def __init__(
        self, store: Store, plan: Plan, parent: DatasetVersion | None, findings: Findings
    ) -> None:
        self._store, self._plan, self._findings = store, plan, findings
        self._parent = parent
        self._before = list(parent.items) if parent else []

    def version(self, kept: list[Kept]) -> DatasetVersion:
        """The version; it is not stored yet. Raises DataError with all problems that it has."""
        fresh = self._fresh(kept)
        depth = self._depth(fresh)
        self._check_channels(fresh)
        self._findings.raise_all()
        items = self._items(fresh)
        self._check_classes([*self._before, *items])
        if self._parent is not None:
            said = f"{self._plan.reason}: {len(items)} images more"
            return self._parent.extend(items, said[:500])
        grey = all(one.channels == 1 for one in kept)
        return DatasetVersion(
            line=self._plan.line,
            reason=self._plan.reason[:500],
            channels=self._plan.channels or (1 if grey else 3),
            depth=depth,
            items=items,
        )

    def _fresh(self, kept: list[Kept]) -> list[Kept]:
        """Those that the parent does not hold; that it calls one otherwise is a problem."""
        labels = {item.sha256: item.label for item in self._before}
        for one in kept:
            with self._findings.gather():
                if labels.get(one.sha256, one.label) != one.label:
                    raise DataError(f"{one.row.source} is in the version already, under another label",
                                    expected=labels[one.sha256], found=one.label,
                                    remedy="Leave it out, or import all images anew.")  # fmt: skip
        self._findings.raise_all()
        fresh = [one for one in kept if one.sha256 not in labels]
        if not fresh:
            raise DataError("there is nothing to add: the version holds every image already")
        if len(fresh) < len(kept):
            self._findings.notes.append(
                f"{len(kept) - len(fresh)} images are in the version already"
            )
        return fresh

    def _depth(self, kept: list[Kept]) -> Literal[8, 16]:
        deep = sum(one.depth == 16 for one in kept)
        most: Literal[8, 16] = 16 if deep > len(kept) - deep else 8
        depth = self._parent.depth if self._parent else most
        odd = [one.row.source for one in kept if one.depth != depth]
        with self._findings.gather():
            if odd:
                raise DataError(
                    "images of 8 and of 16 bits are mixed",
                    expected=f"{depth} bits a channel, as {'the version' if self._parent else 'most'}",
                    found=f"{len(odd)} others: {', '.join(odd[:_SHOWN])}",
                    remedy="Bring them all to one depth, or make a line of each.",
                )
        return depth

    def _check_channels(self, kept: list[Kept]) -> None:
        asked = self._plan.channels
        if self._parent is None or asked == self._parent.channels:
            return
        colour = [one.row.source for one in kept if one.channels > self._parent.channels]
        with self._findings.gather():
            if colour or asked is not None:
                raise DataError(
                    "the images have other channels than the version that they are added to",
                    expected=f"{self._parent.channels}",
                    found=", ".join(colour[:_SHOWN]) or f"--channels {asked}",
                    remedy=f"Say --channels {self._parent.channels} to convert them.",
                )

    def _check_classes(self, items: Sequence[DatasetItem]) -> None:
        found = sorted({item.label for item in items})
        if GOOD not in found:
            raise DataError("good images are needed", expected="the class good",
                            found=", ".join(found),
                            remedy="Name the good class with --good; look at --where.")  # fmt: skip
        if found == [GOOD]:
            self._findings.notes.append(
                "every image is good: only a line that learns from good parts can be trained, and "
                "how many defects escape cannot be measured"
            )

    def _items(self, kept: list[Kept]) -> list[DatasetItem]:
        rows, naming = [one.row for one in kept], self._plan.naming
        pictures = [Picture(one.thumbnail, one.label) for one in kept]
        groups = group_names(rows, pictures, naming, self._known(), self._findings)
        slices = slices_of(rows, naming, self._findings)
        self._findings.raise_all()
        sides = self._source_sides(kept, groups) if self._plan.keep_split else self._sides(
            [(group, one.label) for group, one in zip(groups, kept, strict=True)],
            list(zip(groups, slices, strict=True)),
        )  # fmt: skip
        return [
            DatasetItem(
                sha256=one.sha256,
                label=one.label,
                mask=one.mask,
                regions=one.regions,
                group=group,
                split=sides[group],
                slices=values,
                appraisals=dict(one.row.appraisals),
                source=one.row.source,
            )
            for one, group, values in zip(kept, groups, slices, strict=True)
        ]

    def _known(self) -> Known:
        seen = scan(self._store, self._before)
        return Known([one.item.group for one in seen], [one.image.thumbnail for one in seen])

    def _sides(
        self, labels: list[tuple[str, str]], slices: list[tuple[str, dict[str, str]]]
    ) -> dict[str, Side]:
        """The side of every part; those that the parent knows keep theirs."""
        held = frozenset(item.group for item in self._before if item.split == "holdout")
        trained = frozenset(item.group for item in self._before) - held
        chosen = choose_groups(
            group_labels([(item.group, item.label) for item in self._before] + labels),
            self._plan.holdout,
            self._plan.seed,
            traits=group_traits([*((i.group, i.slices) for i in self._before), *slices]),
            held=held,
            trained=trained,
        )
        return {group: "holdout" if group in chosen else "train" for group, _ in labels}

    def _source_sides(self, kept: list[Kept], groups: list[str]) -> dict[str, Side]:
        none = [one.row.source for one in kept if one.row.side is None]
        if none:
            raise DataError(f"{len(none)} images stand on no side of a split",
                            expected="train, or val, test or holdout, as the source says it",
                            found=", ".join(none[:_SHOWN]),
                            remedy="Leave --keep-split out: all is split anew, by part.")  # fmt: skip
        sides: dict[str, Side] = {item.group: item.split for item in self._before}
        for one, group in zip(kept, groups, strict=True):
            side = one.row.side or "train"
            with self._findings.gather():
                if sides.setdefault(group, side) != side:
                    raise DataError(f"part {group!r} stands on both sides of the source's split",
                                    expected="all images of one part on one side",
                                    found=f"{one.row.source} in {side}",
                                    remedy="Leave --keep-split out: all is split anew, by part.",
                                    )  # fmt: skip
        self._findings.raise_all()
        return sides
