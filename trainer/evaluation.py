"""The evaluation report of a bundle: measured on the holdout, through the runtimes of devices."""

from pathlib import Path
from typing import Any

from fleet_contract.dataset import GOOD
from fleet_contract.errors import LoupeError
from fleet_contract.manifest import Manifest
from fleet_contract.names import Precision, Runtime
from trainer import measures
from trainer.judge import PRIMARY, Judged, Samples, judge


class GateError(LoupeError):
    """A measured figure is beyond what the configuration allows: no bundle is made."""


def evaluate(
    folder: Path,
    manifest: Manifest,
    samples: Samples,
    runtime: Runtime | None = None,
    precision: Precision | None = None,
) -> dict[str, Any]:
    """The report as JSON values: figures of one model on top, of each under `models`.

    Only models of that runtime and precision, where they are given; raises BundleError where the
    bundle has none.
    """
    if runtime is not None and precision is not None:
        manifest.model_for(runtime, precision)
    files = [file for file in manifest.models
             if runtime in (None, file.runtime) and precision in (None, file.precision)]  # fmt: skip
    judged = [judge(folder, manifest, file, samples) for file in files]
    return report(manifest, samples, judged)


def report(manifest: Manifest, samples: Samples, judged: list[Judged]) -> dict[str, Any]:
    """The report of what the models said."""
    models = {one.key: figures(manifest, samples, one) for one in judged}
    changed = flips(judged)
    for runtime, rate in changed.items():
        models[f"{runtime}/{Precision.INT8}"]["flips"] = rate["count"]
    first = "/".join(PRIMARY) if "/".join(PRIMARY) in models else judged[0].key
    return {
        "model": first,
        "images": len(samples.items),
        "parts": len({item.group for item in samples.items}),
        **models[first],
        "flips": changed,
        "models": models,
    }


def figures(manifest: Manifest, samples: Samples, judged: Judged) -> dict[str, Any]:
    """What one model measures. Rates carry exact 95 % intervals; latencies are in milliseconds."""
    truth = samples.defective
    slices = measures.slice_aurocs(judged.scores, truth, [dict(i.slices) for i in samples.items])
    defects = measures.defect_aurocs(judged.scores, [i.label for i in samples.items], GOOD)
    runtime, precision = judged.key.split("/")
    file = manifest.model_for(Runtime(runtime), Precision(precision))
    return {
        "image_auroc": measures.auroc(judged.scores, truth),
        "image_ap": measures.average_precision(judged.scores, truth),
        "pixel_ap": _pixel_ap(samples, judged),
        "f1": measures.f1(judged.rejected, truth),
        "f1_max": measures.f1_max(judged.scores, truth),
        "threshold": manifest.decision.threshold,
        "escape": measures.escape(judged.rejected, truth).to_json(),
        "overkill": measures.overkill(judged.rejected, truth).to_json(),
        "slices": slices,
        "defects": defects,
        "worst_slice": _worst({"defect": defects, **slices}),
        "latency_ms": {"p50": measures.percentile(judged.latency_ms, 0.5),
                       "p99": measures.percentile(judged.latency_ms, 0.99)},
        "size_bytes": manifest.files[file.file].size,
    }  # fmt: skip


def flips(judged: list[Judged]) -> dict[str, Any]:
    """By runtime: on how many samples int8 decides otherwise than fp32."""
    by_key = {one.key: one for one in judged}
    result = {}
    for runtime in Runtime:
        pair = [by_key.get(f"{runtime}/{precision}") for precision in Precision]
        if pair[0] is not None and pair[1] is not None:
            count = int((pair[0].rejected != pair[1].rejected).sum())
            result[str(runtime)] = measures.exact_rate(count, len(pair[0].rejected)).to_json()
    return result


def check_flips(report: dict[str, Any], at_most: float) -> None:
    """Raises GateError where quantization changed more verdicts than allowed."""
    for runtime, rate in report["flips"].items():
        if rate["rate"] is not None and rate["rate"] > at_most:
            raise GateError(
                f"quantization changes too many verdicts on {runtime}",
                expected=f"at most {at_most:.1%} of the holdout (gates.max_flips)",
                found=f"{rate['count']} of {rate['trials']}",
                remedy="Train longer, or raise quantize.calibration_images.",
            )


def _worst(slices: dict[str, dict[str, float]]) -> dict[str, Any] | None:
    flat = [(value, name, kind) for name, kinds in slices.items() for kind, value in kinds.items()]
    if not flat:
        return None
    value, name, kind = min(flat)
    return {"slice": name, "value": kind, "image_auroc": value}


def _pixel_ap(samples: Samples, judged: Judged) -> float | None:
    pairs = zip(judged.heat, samples.masks, strict=True)
    known = [(heat, mask) for heat, mask in pairs if mask is not None]
    return measures.pixel_average_precision([h for h, _ in known], [m for _, m in known])
