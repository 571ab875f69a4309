"""A bundle ready to judge: frame in, judgement out. The trainer evaluates and the agent runs this."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import ModelError
from fleet_contract.inference.accept import FoundDefect, allowed, locate
from fleet_contract.inference.preprocess import Frame, check_frame, preprocess, to_tensor
from fleet_contract.inference.runtime import ModelRuntime, Output, load_model, sigmoid
from fleet_contract.inference.views import stitch, views
from fleet_contract.manifest import Decision, Manifest
from fleet_contract.names import Precision, Runtime, Verdict

_VOTE = 0.5
"""Score at which a member of an ensemble votes to reject: members are calibrated to it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a bundle says of one frame."""

    verdict: Verdict
    score: float
    mask_logits: NDArray[np.float32]
    """[h, w] float32 over the whole frame, at the model's stride."""
    latency_ms: float
    """Preprocessing to verdict."""
    defects: tuple[FoundDefect, ...] = ()
    """What was located, where the line has acceptance limits and the score asked for a look."""


def decide(score: float, decision: Decision) -> Verdict:
    """Reject at or above the threshold. Raises ModelError for a score that is no number."""
    if math.isnan(score):
        raise ModelError("the model's score is not a number")
    return Verdict.REJECT if score >= decision.threshold else Verdict.ACCEPT


class BundleModel:
    """The models of an unpacked bundle for one runtime and precision, loaded. Not thread-safe."""

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
        self.files = manifest.models_for(runtime, precision)
        self._members = [load_model(folder, file, threads=threads) for file in self.files]

    @property
    def key(self) -> str:
        """`runtime/precision`, as golden scores are keyed."""
        return f"{self.files[0].runtime}/{self.files[0].precision}"

    def judge(self, frame: Frame, recipe: str = "", mm_per_pixel: float | None = None) -> Judgement:
        """`mm_per_pixel` is the station's own; None: the bundle's.

        Raises DataError for a frame that breaks the schema or a recipe that is not known, ModelError
        for a model that fails.
        """
        start = time.perf_counter()
        check_frame(frame, self.manifest.input)
        decision = self.manifest.decision.for_recipe(recipe)
        spec = self.manifest.preprocess
        seen = views(preprocess(frame, spec), spec)
        outputs = [self._member(index, seen) for index in range(len(self._members))]
        output = outputs[0] if len(outputs) == 1 else combine(outputs, self.manifest)
        verdict = decide(output.score, decision)
        defects: tuple[FoundDefect, ...] = ()
        if verdict is Verdict.REJECT and decision.acceptance is not None:
            size = (frame.shape[0], frame.shape[1])
            defects = locate(sigmoid(output.mask_logits), output.kind_logits,
                             self.manifest.classes, size, decision.acceptance.level)  # fmt: skip
            # What raised the score but cannot be located cannot be measured: it stays a reject.
            if defects and allowed(defects, decision.acceptance, mm_per_pixel):
                verdict = Verdict.ACCEPT
        elapsed_ms = (time.perf_counter() - start) * 1e3
        return Judgement(verdict, output.score, output.mask_logits, elapsed_ms, defects)

    def warm_up(self, runs: int = 3) -> None:
        """Runs blank frames, so that the first part is not the slow one."""
        spec = self.manifest.preprocess
        blank = np.full((spec.height, spec.width, self.manifest.input.channels), 127, np.uint8)
        for member, file in zip(self._members, self.files, strict=True):
            for _ in range(runs):
                member.run(to_tensor(blank, file))

    def _member(self, index: int, seen: list[NDArray[np.uint8]]) -> Output:
        """One member on all views: the largest score, and the maps as one."""
        runtime, file = self._members[index], self.files[index]
        outputs = [_run(runtime, to_tensor(view, file)) for view in seen]
        if len(outputs) == 1:
            return outputs[0]
        spec = self.manifest.preprocess
        kinds = [output.kind_logits for output in outputs if output.kind_logits is not None]
        return Output(
            float(np.max([output.score for output in outputs])),
            stitch([output.mask_logits for output in outputs], spec),
            stitch(kinds, spec) if kinds else None,
        )


def combine(outputs: list[Output], manifest: Manifest) -> Output:
    """What the members of an ensemble say together, by the manifest's rule; maps are averaged."""
    scores = np.array([output.score for output in outputs])
    if manifest.ensemble == "mean":
        score = float(scores.mean())
    elif manifest.ensemble == "max":
        score = float(scores.max())
    else:
        score = float(np.mean(scores >= _VOTE))
    kinds = [output.kind_logits for output in outputs if output.kind_logits is not None]
    return Output(
        score if np.isfinite(scores).all() else math.nan,
        np.asarray(np.mean([output.mask_logits for output in outputs], axis=0), np.float32),
        np.asarray(np.mean(kinds, axis=0), np.float32) if len(kinds) == len(outputs) else None,
    )


def _run(runtime: ModelRuntime, tensor: NDArray[Any]) -> Output:
    output = runtime.run(tensor)
    if math.isnan(output.score):
        raise ModelError("the model's score is not a number")
    return output
