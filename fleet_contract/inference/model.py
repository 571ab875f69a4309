"""A bundle ready to judge: frame in, judgement out. The trainer evaluates and the agent runs this."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import ModelError
from fleet_contract.inference.preprocess import Frame, check_frame, preprocess, to_tensor
from fleet_contract.inference.runtime import load_model
from fleet_contract.manifest import Decision, Manifest
from fleet_contract.names import Precision, Runtime, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a bundle says of one frame."""

    verdict: Verdict
    score: float
    mask_logits: NDArray[np.float32]
    """[h, w] float32 at the model's stride."""
    latency_ms: float
    """Preprocessing to verdict."""


def decide(score: float, decision: Decision) -> Verdict:
    """Reject at or above the threshold. Raises ModelError for a score that is no number."""
    if math.isnan(score):
        raise ModelError("the model's score is not a number")
    return Verdict.REJECT if score >= decision.threshold else Verdict.ACCEPT


class BundleModel:
    """One model file of an unpacked bundle, loaded. Not thread-safe."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        runtime: Runtime,
        precision: Precision,
        *,
        threads: int = 1,
    ) -> None:
        self.manifest = manifest
        self.file = manifest.model_for(runtime, precision)
        self._runtime = load_model(folder, self.file, threads=threads)

    @property
    def key(self) -> str:
        """`runtime/precision`, as golden scores are keyed."""
        return f"{self.file.runtime}/{self.file.precision}"

    def judge(self, frame: Frame) -> Judgement:
        """Raises DataError for a frame that breaks the schema, ModelError for a model that fails."""
        start = time.perf_counter()
        check_frame(frame, self.manifest.input)
        pixels = preprocess(frame, self.manifest.preprocess)
        output = self._runtime.run(to_tensor(pixels, self.file))
        verdict = decide(output.score, self.manifest.decision)
        elapsed_ms = (time.perf_counter() - start) * 1e3
        return Judgement(verdict, output.score, output.mask_logits, elapsed_ms)

    def warm_up(self, runs: int = 3) -> None:
        """Runs blank frames, so that the first part is not the slow one."""
        shape = (self.manifest.preprocess.height, self.manifest.preprocess.width, 3)
        size = shape[:2] if self.manifest.input.channels == 1 else shape
        blank = np.full(size, 127, np.uint8)
        tensor = to_tensor(preprocess(blank, self.manifest.preprocess), self.file)
        for _ in range(runs):
            self._runtime.run(tensor)
