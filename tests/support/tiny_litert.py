"""A LiteRT model made by hand: the score is the mean of the picture, the mask the mean of its channels."""

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

SIDE = 32


def mean_model() -> bytes:
    """float32 [1, SIDE, SIDE, 3] -> mask [1, SIDE, SIDE], score [1]."""
    buffers = [_buffer(b""), _buffer(np.array([3], np.int32).tobytes()),
               _buffer(np.array([1, 2, 3], np.int32).tobytes())]  # fmt: skip
    tensors = [
        _tensor("image", [1, SIDE, SIDE, 3], schema.TensorType.FLOAT32, 0),
        _tensor("channels", [1], schema.TensorType.INT32, 1),
        _tensor("all", [3], schema.TensorType.INT32, 2),
        _tensor("mask", [1, SIDE, SIDE], schema.TensorType.FLOAT32, 0),
        _tensor("score", [1], schema.TensorType.FLOAT32, 0),
    ]
    graph = schema.SubGraphT(
        tensors=tensors, inputs=[0], outputs=[3, 4], operators=[_mean(1, 3), _mean(2, 4)]
    )
    mean = schema.BuiltinOperator.MEAN
    code = schema.OperatorCodeT(deprecatedBuiltinCode=mean, builtinCode=mean)
    model = schema.ModelT(version=3, operatorCodes=[code], subgraphs=[graph], buffers=buffers)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _buffer(data: bytes) -> Any:
    return schema.BufferT(data=list(data) or None)


def _tensor(name: str, shape: list[int], kind: int, buffer: int) -> Any:
    return schema.TensorT(name=name, shape=shape, type=kind, buffer=buffer)


def _mean(axes: int, output: int) -> Any:
    return schema.OperatorT(
        opcodeIndex=0, inputs=[0, axes], outputs=[output],
        builtinOptionsType=schema.BuiltinOptions.ReducerOptions,
        builtinOptions=schema.ReducerOptionsT(keepDims=False),
    )  # fmt: skip
