"""Is a dataset version fit to train on and to measure with? One report, the worst first."""

from collections.abc import Callable, Iterable

from fleet_contract.dataset import DatasetVersion
from fleet_contract.manifest import InputSchema
from trainer.data.checks.files import check_masks, check_readable, check_schema
from trainer.data.checks.finding import Evidence, Finding, Findings, found, name_of
from trainer.data.checks.labels import (
    check_alike,
    check_appraisals,
    check_classes,
    check_same_pictures,
)
from trainer.data.checks.sides import check_alike_sides, check_apart, check_enough
from trainer.data.duplicates import Pair, embed, near_pairs
from trainer.data.lineage import ancestors
from trainer.data.scan import Seen, Tick, scan
from trainer.data.store import Store

CHECKS: tuple[Callable[[Evidence], list[Finding]], ...] = (
    check_readable, check_masks, check_schema, check_classes, check_same_pictures, check_alike,
    check_appraisals, check_apart, check_enough, check_alike_sides,
)  # fmt: skip
_WORST = ("error", "warning", "note")


def any_schema(version: DatasetVersion) -> InputSchema:
    """What every frame of the version's kind fulfils, where no line's configuration says more."""
    return InputSchema(channels=version.channels, depth=version.depth, min_side=8, max_side=16384)


def validate(
    store: Store,
    version: DatasetVersion,
    schema: InputSchema,
    *,
    classes: Iterable[str] = (),
    tick: Tick | None = None,
) -> Findings:
    """All findings of all checks; files that cannot be read are findings, too.

    `schema` is the line's, `classes` names classes of defect that are to be there. Reads every image
    and mask once: some milliseconds each.
    """
    seen = scan(store, version.items, tick)
    evidence = Evidence(version, seen, schema, _pairs(seen), frozenset(classes))
    findings = [finding for check in CHECKS for finding in check(evidence)]
    findings += check_other_versions(store, version)
    return Findings(
        dataset=version.digest(),
        line=version.line,
        images=len(version.items),
        parts=len({item.group for item in version.items}),
        findings=sorted(findings, key=lambda finding: _WORST.index(finding.severity)),
    )


def _pairs(seen: list[Seen]) -> list[Pair]:
    known = [index for index, one in enumerate(seen) if not one.image.problem]
    pairs = near_pairs(embed([seen[index].image.thumbnail for index in known]))
    return [Pair(known[p.first], known[p.second], p.likeness) for p in pairs]


def check_other_versions(store: Store, version: DatasetVersion) -> list[Finding]:
    """Images that this version trains on and another one of the line, not its parent, holds out."""
    versions = {digest: store.version(digest) for digest in store.digests()}
    digest = version.digest()
    own = {digest, *(older.digest() for older in ancestors(version, versions.get))}
    held = {
        item.sha256
        for name, other in versions.items()
        if name not in own and other.line == version.line
        if digest not in (older.digest() for older in ancestors(other, versions.get))
        for item in other.side("holdout")
    }
    trained = [name_of(item) for item in version.side("train") if item.sha256 in held]
    return found(
        "warning", "held-out-elsewhere",
        f"{len(trained)} images are trained on that another version of line {version.line} holds out",
        trained, "Compare no model of this version with one of the other: grow one version "
        "(`loupe-trainer import --add-to`) instead of importing anew.",
    )  # fmt: skip
