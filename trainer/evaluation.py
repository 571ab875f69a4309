"""The evaluation of a bundle: measured on the holdout, through the runtimes of devices."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet_contract.dataset import GOOD
from fleet_contract.errors import BundleError
from fleet_contract.manifest import Manifest
from fleet_contract.names import Precision, Runtime, Verdict
from trainer import footprint, measures
from trainer.agreement import Decisions, agreement
from trainer.judge import PRIMARY, Judged, Key, Tick, judge_all, keys_of
from trainer.measures import bootstrap, slices
from trainer.runs.machine import hardware
from trainer.samples import Samples, holdout_digest

_NAMED = 20
"""Images without a decision that are named; the rest are only counted."""


def evaluate(
    folder: Path,
    manifest: Manifest,
    samples: Samples,
    runtime: Runtime | None = None,
    precision: Precision | None = None,
    tick: Tick | None = None,
) -> dict[str, Any]:
    """The evaluation as JSON values: figures of one model on top, of each under `models`.

    Only models of that runtime and precision, where they are given; raises BundleError where the
    bundle has none, DataError and ModelError as `judge` does.
    """
    judged = judge_all(folder, manifest, samples, chosen_keys(manifest, runtime, precision), tick)
    return report(manifest, samples, judged, memory_of(folder, manifest, judged))


def chosen_keys(
    manifest: Manifest, runtime: Runtime | None, precision: Precision | None
) -> list[Key]:
    """The models of that runtime and precision, of all where None. Raises BundleError for none."""
    keys = keys_of(manifest)
    chosen = [key for key in keys if runtime in (None, key[0]) and precision in (None, key[1])]
    if not chosen:
        raise BundleError(f"the bundle has no model for {runtime or 'any'}/{precision or 'any'}",
                          found=", ".join("/".join(key) for key in keys))  # fmt: skip
    return chosen


def memory_of(folder: Path, manifest: Manifest, judged: list[Judged]) -> dict[str, float]:
    """MB by `runtime/precision`, on a frame as large as the largest; see `footprint.measure`."""
    size = judged[0].largest
    return footprint.measure(folder, manifest, size) if min(size) else {}


def primary(judged: list[Judged]) -> Judged:
    """The one whose figures stand first."""
    return next((one for one in judged if one.key == "/".join(PRIMARY)), judged[0])


def report(
    manifest: Manifest,
    samples: Samples,
    judged: list[Judged],
    memory_mb: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The evaluation of what the models said; `memory_mb` by `runtime/precision`."""
    kinds, bounds = slices.size_kinds(primary(judged).areas)
    columns, many = slices.columns_of([dict(item.slices) for item in samples.items])
    groups = _Groups(columns, kinds)
    known = memory_mb or {}
    models = {
        one.key: figures(manifest, samples, one, groups, known.get(one.key)) for one in judged
    }
    changed = flips(judged)
    for runtime, rate in changed.items():
        models[f"{runtime}/{Precision.INT8}"]["flips"] = rate["count"]
    first = primary(judged)
    return {
        "model": first.key,
        "images": len(samples.items),
        "parts": len(set(samples.groups)),
        "good": int((~samples.defective).sum()),
        "defective": int(samples.defective.sum()),
        "holdout": holdout_digest(samples.items),
        "machine": hardware().model_dump(mode="json"),
        **models[first.key],
        "flips": changed,
        "models": models,
        "slices_left_out": many,
        "defect_size": None if bounds is None else {
            "unit": "defective pixels of an image",
            "small_at_most": bounds.small_at_most, "medium_at_most": bounds.medium_at_most,
        },
        "agreement": _agreement(samples, judged),
        "decisions": decisions(samples, first),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Groups:
    columns: slices.Columns
    sizes: list[str]
    """[n] size of each image's defects, '' where it is not known."""


def figures(
    manifest: Manifest,
    samples: Samples,
    judged: Judged,
    groups: _Groups,
    memory_mb: float | None,
) -> dict[str, Any]:
    """What one runtime and precision measures. Rates carry exact 95 % intervals."""
    seen = judged.decided
    scores, rejected, truth = judged.scores[seen], judged.rejected[seen], samples.defective[seen]
    labels = [item.label for item, kept in zip(samples.items, seen, strict=True) if kept]
    sliced = _slices(judged, samples, groups)
    worst = slices.worst(sliced)
    return {
        "image_auroc": measures.auroc(scores, truth),
        "image_ap": measures.average_precision(scores, truth),
        "pixel_ap": judged.pixels.average_precision(),
        "aupro_30": judged.pixels.aupro(0.3),
        "aupro_05": judged.pixels.aupro(0.05),
        "intervals": _intervals(samples, judged),
        "f1": measures.f1(rejected, truth),
        "f1_max": measures.f1_max(scores, truth),
        "threshold": manifest.decision.threshold,
        "escape": measures.escape(rejected, truth).to_json(),
        "overkill": measures.overkill(rejected, truth).to_json(),
        "no_decision": _no_decision(samples, judged),
        "dppm": measures.outgoing_dppm(rejected, truth),
        "recall": {k: r.to_json() for k, r in measures.class_recalls(rejected, labels, GOOD).items()},
        "calibration": measures.calibration(scores, truth).to_json(),
        "slices": _by_name(sliced),
        "defects": {s.value: s.auroc for s in sliced
                    if s.column == slices.DEFECT and s.auroc is not None},
        "worst_slice": None if worst is None else {
            "slice": worst.column, "value": worst.value, **worst.to_json()},
        "bias": [b.to_json() for b in slices.biases(
            [s for s in sliced if s.column in groups.columns])],
        "latency_ms": _latency(judged.latency_ms),
        "memory_mb": memory_mb,
        "size_bytes": _size(manifest, judged.key),
    }  # fmt: skip


def flips(judged: list[Judged]) -> dict[str, Any]:
    """By runtime: on how many samples, decided by both, int8 decides otherwise than fp32."""
    by_key = {one.key: one for one in judged}
    result = {}
    for runtime in Runtime:
        one, other = (by_key.get(f"{runtime}/{precision}") for precision in Precision)
        if one is not None and other is not None:
            both = one.decided & other.decided
            count = int((one.rejected != other.rejected)[both].sum())
            result[str(runtime)] = measures.exact_rate(count, int(both.sum())).to_json()
    return result


def decisions(samples: Samples, judged: Judged) -> list[dict[str, Any]]:
    """What was said of every image: what a comparison pairs, and what a device must say again."""
    return [
        {
            "image": item.sha256,
            "part": item.group,
            "source": item.source,
            "label": item.label,
            "score": round(float(score), 6) if decided else None,
            "verdict": str(_verdict(bool(decided), bool(rejected))),
        }
        for item, score, decided, rejected in zip(
            samples.items, judged.scores, judged.decided, judged.rejected, strict=True
        )
    ]


def _verdict(decided: bool, rejected: bool) -> Verdict:
    if not decided:
        return Verdict.NO_DECISION
    return Verdict.REJECT if rejected else Verdict.ACCEPT


def _slices(judged: Judged, samples: Samples, groups: _Groups) -> list[slices.Slice]:
    seen = judged.decided
    said = judged.scores[seen], judged.rejected[seen], samples.defective[seen]
    classes = [item.label if item.label != GOOD else "" for item in samples.items]
    return [
        *slices.by_column(*said, {n: _kept(v, seen) for n, v in groups.columns.items()}),
        *slices.by_kind(slices.DEFECT, *said, _kept(classes, seen)),
        *slices.by_kind(slices.SIZE, *said, _kept(groups.sizes, seen)),
    ]


def _kept(values: list[str], seen: NDArray[np.bool_]) -> list[str]:
    return [value for value, kept in zip(values, seen, strict=True) if kept]


def _by_name(sliced: list[slices.Slice]) -> dict[str, dict[str, Any]]:
    named: dict[str, dict[str, Any]] = {}
    for one in sliced:
        named.setdefault(one.column, {})[one.value] = one.to_json()
    return named


def _intervals(samples: Samples, judged: Judged) -> dict[str, Any]:
    """Percentile intervals at 95 %, drawn by part; None where there are too few parts."""
    result: dict[str, Any] = {"by": "part", "resamples": bootstrap.RESAMPLES}
    seen, truth = judged.decided, samples.defective
    drawn = bootstrap.Resamples(_kept(samples.groups, seen), truth[seen])
    scores = judged.scores[seen]
    whole = bootstrap.Resamples(samples.groups, truth)
    found = {
        "image_auroc": bootstrap.aurocs(drawn, scores, truth[seen]) if drawn.possible else None,
        "image_ap": bootstrap.average_precisions(drawn, scores, truth[seen]) if drawn.possible else None,
        "pixel_ap": bootstrap.pixel_average_precisions(whole, judged.pixels) if whole.possible else None,
    }  # fmt: skip
    for name, values in found.items():
        low, high = (None, None) if values is None else bootstrap.interval(values)
        result[name] = None if values is None else {"low": low, "high": high}
    return result


def _no_decision(samples: Samples, judged: Judged) -> dict[str, Any]:
    named = [{"image": samples.items[index].source or samples.items[index].sha256, "why": why}
             for index, why in judged.refused.items()]  # fmt: skip
    defective = int(samples.defective[list(judged.refused)].sum()) if named else 0
    return {"count": len(named), "defective": defective, "images": named[:_NAMED]}


def _agreement(samples: Samples, judged: list[Judged]) -> dict[str, Any]:
    names = sorted({name for item in samples.items for name in item.appraisals})
    people: dict[str, Decisions] = {
        name: np.array([_said(item.appraisals.get(name)) for item in samples.items], np.int8)
        for name in names
    }
    models = {one.key: np.where(one.decided, one.rejected, -1).astype(np.int8) for one in judged}
    return agreement(people, models, samples.defective)


def _said(label: str | None) -> int:
    return -1 if label is None else int(label != GOOD)


def _latency(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"p50": None, "p99": None}
    return {"p50": measures.percentile(values, 0.5), "p99": measures.percentile(values, 0.99)}


def _size(manifest: Manifest, key: str) -> int:
    runtime, precision = key.split("/")
    files = manifest.models_for(Runtime(runtime), Precision(precision))
    return sum(manifest.files[model.file].size for model in files)
