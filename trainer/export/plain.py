"""Takes out of an ONNX file what the exporter notes of the machine that it ran on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx


def forget_sources(path: Path) -> None:
    """Rewrites the file without names and lines of source files.

    torch's exporter notes at every node the stack of calls that made it, paths and all: the same
    weights would be other bytes in another checkout, and each device would carry them about.
    """
    model = onnx.load(str(path))
    for part in _parts(model.graph):
        del part.metadata_props[:]
    for function in model.functions:
        for part in (function, *function.node, *function.value_info):
            del part.metadata_props[:]
    onnx.save(model, str(path))


def _parts(graph: Any) -> Iterable[Any]:
    return (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer)
