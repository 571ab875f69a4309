"""Models from outside: any function that leaves an ONNX graph under the contract.

`[train] family = "plugin"` and `plugin = "package.module:function"`. The function is called with a
`Lesson` and returns the path of an ONNX file, written into `Lesson.folder`:

* one input, float32 [1, channels, height, width], pixel values 0 to 255;
* output `score`, float32 [1, 1]: one logit, the larger the more defective;
* output `mask`, float32 [1, 1, h, w]: logits of the defect map, at any stride.

Everything after that (calibration, int8, evaluation, packing) is as for the models of the trainer.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleet_contract.errors import ConfigError, ModelError
from fleet_contract.inference.runtime import load_model
from fleet_contract.names import Precision
from trainer.export import onnx


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a plugin learns from."""

    pictures: NDArray[np.uint8]
    """[n, height, width, channels] uint8 at the graph's size."""
    defective: NDArray[np.bool_]
    """[n]."""
    marks: NDArray[np.uint8]
    """[n, height, width] uint8: 0 clean, 1 somewhere here, 2 and more defective (class + 2)."""
    folder: Path
    """Where the ONNX file is to be left."""
    seed: int
    time_budget_s: float
    stopped: Callable[[float, str], bool]
    """Told (share done, message); True asks to end early."""


def run_plugin(name: str, lesson: Lesson) -> Path:
    """The graph that the plugin left, tried once. Raises ConfigError, ModelError."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"train.plugin: {name!r} cannot be imported: {error}",
                          expected="module:function of an installed package") from error  # fmt: skip
    path = Path(found(lesson))
    if not path.is_file():
        raise ModelError(f"{name} left no file", expected="the path of an ONNX file",
                         found=str(path))  # fmt: skip
    file = onnx.model_file(Precision.FP32, 1.0).model_copy(update={"file": path.name})
    load_model(path.parent, file).run(onnx.tensor_of(lesson.pictures[0]))
    return path
