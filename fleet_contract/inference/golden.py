"""Golden self-test: a bundle must say of its golden samples what it said where it was packed."""

from dataclasses import dataclass
from pathlib import Path

from fleet_contract.errors import ModelError
from fleet_contract.inference.model import BundleModel
from fleet_contract.inference.preprocess import decode_image


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """One golden sample on this machine."""

    file: str
    expected_verdict: str
    verdict: str
    expected_score: float
    score: float
    tolerance: float

    @property
    def right(self) -> bool:
        """Same verdict, and a score within the tolerance of this runtime and precision."""
        near = abs(self.score - self.expected_score) <= self.tolerance
        return self.verdict == self.expected_verdict and near


def self_test(model: BundleModel, folder: Path) -> list[GoldenResult]:
    """Every golden sample of the bundle in `folder`, judged. Raises ModelError, DataError."""
    results = []
    for sample in model.manifest.golden:
        if model.key not in sample.scores:
            raise ModelError(f"{sample.file} has no golden score for {model.key}")
        frame = decode_image(
            (folder / sample.file).read_bytes(),
            model.manifest.input.channels,
            model.manifest.input.depth,
        )
        judgement = model.judge(frame)
        results.append(
            GoldenResult(
                sample.file,
                str(sample.verdict),
                str(judgement.verdict),
                sample.scores[model.key],
                judgement.score,
                model.files[0].score_tolerance,
            )
        )
    return results


def failures(results: list[GoldenResult]) -> str:
    """What went wrong in one line, or '' where all is right."""
    wrong = [result for result in results if not result.right]
    if not wrong:
        return ""
    worst = max(wrong, key=lambda result: abs(result.score - result.expected_score))
    return (
        f"{len(wrong)} of {len(results)} golden samples differ; {worst.file}: expected "
        f"{worst.expected_verdict} at {worst.expected_score:.3f} (tolerance {worst.tolerance:.3f}), "
        f"found {worst.verdict} at {worst.score:.3f}"
    )
