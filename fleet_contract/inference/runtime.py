"""One adapter over the runtimes: a tensor in, a score and a heat map out.

`ONNX Runtime` and `LiteRT` implement `ModelRuntime`; one suite runs over both. Telemetry of
onnxruntime (on by default since 1.29) is switched off before it is imported. LiteRT models run in
`tflite-runtime`, LiteRT's older name, where that alone is installed.
"""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import ModelError
from fleet_contract.manifest import ModelFile
from fleet_contract.names import Runtime

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

PACKAGES = {Runtime.ONNX: ("onnxruntime",), Runtime.LITERT: ("ai_edge_litert", "tflite_runtime")}
"""What can run models of a kind; the first that is installed does."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a model says of one frame."""

    score: float
    """Probability-like, in [0, 1]; NaN where the model gave NaN."""
    mask_logits: NDArray[np.float32]
    """[h, w] float32, logits of the defect map at the model's own stride."""
    kind_logits: NDArray[np.float32] | None = None
    """[classes, h, w] float32, where the model tells classes of defect apart."""

    def heatmap(self) -> NDArray[np.float32]:
        """[h, w] float32 in [0, 1]."""
        return sigmoid(self.mask_logits)


class ModelRuntime(Protocol):
    """A loaded model. Not thread-safe: one per thread."""

    def run(self, tensor: NDArray[Any]) -> Output:
        """`tensor` as the model file says (`to_tensor`). Raises ModelError."""


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logistic function, stable for large values."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), np.float32)


def load_model(folder: Path, model: ModelFile, *, threads: int = 1) -> ModelRuntime:
    """The model file in an unpacked bundle, loaded on `threads` cores. Raises ModelError."""
    if not installed(model.runtime):
        raise ModelError(
            f"nothing that runs {model.runtime} models is installed",
            expected=f"the package {' or '.join(PACKAGES[model.runtime])}", found="none of them",
            remedy="Install loupe[agent], or loupe[agent-tflite] on an old image.",
        )  # fmt: skip
    path = folder / model.file
    if model.runtime is Runtime.ONNX:
        return OnnxRuntime(path, threads)
    return LiteRtRuntime(path, threads)


def installed(runtime: Runtime) -> str:
    """The package that runs models of that kind here, '' where there is none."""
    return next((name for name in PACKAGES[runtime] if importlib.util.find_spec(name)), "")


def _output(score: NDArray[Any], mask: NDArray[Any], kinds: NDArray[Any] | None) -> Output:
    if score.size != 1 or mask.ndim < 2:
        raise ModelError(
            "the model's outputs are not usable",
            expected="score with one value, mask with height and width",
            found=f"score {score.shape}, mask {mask.shape}",
        )
    squeezed = mask.astype(np.float32).reshape([side for side in mask.shape if side != 1])
    probability = float(sigmoid(score.astype(np.float32)).reshape(-1)[0])
    return Output(probability, squeezed, None if kinds is None else kinds.astype(np.float32))


class OnnxRuntime:
    """ONNX Runtime on the processor; the graph has outputs `score` and `mask`."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime as ort

        ort.disable_telemetry_events()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # A spinning pool takes the core from the camera and from the other models.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except _onnx_errors() as error:
            raise ModelError(f"{path.name} does not load: {error}") from error
        self._input = self._session.get_inputs()[0].name
        names = {output.name for output in self._session.get_outputs()}
        self._outputs = ["score", "mask", *sorted(names & {"kinds"})]
        if not {"score", "mask"} <= names:
            raise ModelError(f"{path.name} lacks an output", expected="score and mask",
                               found=", ".join(sorted(names)))  # fmt: skip

    def run(self, tensor: NDArray[Any]) -> Output:
        try:
            score, mask, *kinds = self._session.run(self._outputs, {self._input: tensor})
        except _onnx_errors() as error:
            raise ModelError(f"the model does not run: {error}") from error
        return _output(
            np.asarray(score), np.asarray(mask), np.asarray(kinds[0])[0] if kinds else None
        )


def _onnx_errors() -> tuple[type[Exception], ...]:
    # onnxruntime raises exception types of its own that have no common public base.
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile",
             "NotImplemented", "RuntimeException", "EPFail", "EngineError")  # fmt: skip
    own = [getattr(state, name) for name in names if hasattr(state, name)]
    return (RuntimeError, ValueError, *own)


class LiteRtRuntime:
    """LiteRT on the processor (XNNPACK); the signature has outputs `score` and `mask`."""

    def __init__(self, path: Path, threads: int) -> None:
        interpreter = _litert()
        try:
            self._interpreter = interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
            self._input = self._interpreter.get_input_details()[0]["index"]
            self._score, self._mask, self._kinds = self._outputs()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{path.name} does not load: {error}") from error

    def _outputs(self) -> tuple[int, int, int | None]:
        # The converter does not keep names. Sizes tell: one value is the score, the smaller map is
        # the mask, and the kinds are as many maps as there are classes, two or more.
        details = sorted(self._interpreter.get_output_details(), key=_size)
        sizes = [_size(detail) for detail in details]
        if len(sizes) not in (2, 3) or sizes[0] != 1 or len(set(sizes)) != len(sizes):
            raise ModelError(
                "the model's outputs are not usable",
                expected="one output with one value, one with a map, and at most one of classes",
                found=", ".join(str(d["shape"]) for d in details),
            )
        score, mask, *kinds = (int(detail["index"]) for detail in details)
        return score, mask, kinds[0] if kinds else None

    def run(self, tensor: NDArray[Any]) -> Output:
        try:
            self._interpreter.set_tensor(self._input, tensor)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the model does not run: {error}") from error
        score = self._interpreter.get_tensor(self._score)
        kinds = None if self._kinds is None else self._interpreter.get_tensor(self._kinds)[0]
        return _output(score, self._interpreter.get_tensor(self._mask), kinds)


def _litert() -> Any:
    """The class that runs LiteRT models: the same under both names."""
    if installed(Runtime.LITERT) == "tflite_runtime":
        from tflite_runtime.interpreter import Interpreter
    else:
        from ai_edge_litert.interpreter import Interpreter
    return Interpreter


def _size(detail: dict[str, Any]) -> int:
    return int(np.prod(detail["shape"]))
