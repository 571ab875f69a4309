"""A model from outside, as a plugin: how far each pixel lies from what it is in good pictures."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from trainer.plugin import Lesson


def mean_picture(lesson: Lesson) -> Path:
    """A graph whose mask is the squared difference in standard deviations, averaged over 8x8 pixels."""
    good = lesson.pictures[~lesson.defective].astype(np.float32).transpose(0, 3, 1, 2)
    mean, scale = good.mean(axis=0), 1 / (good.std(axis=0) + 4)
    channels, height, width = mean.shape
    weights = np.full((1, channels, 8, 8), 1 / (64 * channels), np.float32)
    constants = [
        helper.make_tensor("mean", TensorProto.FLOAT, [1, *mean.shape], mean.flatten()),
        helper.make_tensor("scale", TensorProto.FLOAT, [1, *mean.shape], scale.flatten()),
        helper.make_tensor("average", TensorProto.FLOAT, weights.shape, weights.flatten()),
        helper.make_tensor("shape", TensorProto.INT64, [2], [1, 1]),
    ]
    nodes = [
        helper.make_node("Sub", ["image", "mean"], ["difference"], name="sub"),
        helper.make_node("Mul", ["difference", "scale"], ["far"], name="far"),
        helper.make_node("Mul", ["far", "far"], ["square"], name="square"),
        helper.make_node("Conv", ["square", "average"], ["mask"], name="conv", strides=[8, 8]),
        helper.make_node("GlobalMaxPool", ["mask"], ["peak"], name="peak"),
        helper.make_node("Reshape", ["peak", "shape"], ["score"], name="score"),
    ]
    graph = helper.make_graph(
        nodes, "mean_picture",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, channels, height, width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, 1]),
         helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, height // 8, width // 8])],
        constants,
    )  # fmt: skip
    path = lesson.folder / "mean-picture.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, str(path))
    return path


def nothing(lesson: Lesson) -> Path:
    """Forgets to write its file."""
    return lesson.folder / "forgotten.onnx"
