"""Rounding: weights on int8's grid, chosen so that layers say nearly the same as before."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.export.fold import fold
from trainer.export.rounding import Weight, round_weights
from trainer.member import TorchMember
from trainer.network import InspectionNet, make_network

Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    """Rough pictures under several lights, so that the inputs of layers go together."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (8, 12, 12, 1))
    grown = small.repeat(8, axis=1).repeat(8, axis=2) * np.linspace(0.3, 1, 8).reshape(-1, 1, 1, 1)
    return grown.astype(np.uint8)


def folded(name: str) -> InspectionNet:
    torch.manual_seed(0)
    model = make_network("light" if name == "light" else "pretrained", 1).eval()
    # As after training: statistics that are not those of a new layer.
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
    fold(model)
    return model


def masks(model: InspectionNet, pictures: Pictures) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(
            torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32))
        )[1]
    return found


def nearest(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True).clip(1e-30) / 127
    return np.asarray(np.round(weight / scale) * scale, np.float32)


def test_folding_changes_nothing_that_the_network_says(pictures: Pictures) -> None:
    torch.manual_seed(0)
    model = make_network("pretrained", 1).eval()
    before = masks(model, pictures)
    fold(model)
    assert not [layer for layer in model.trunk.modules() if isinstance(layer, nn.BatchNorm2d)]
    torch.testing.assert_close(before, masks(model, pictures), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["light", "pretrained"])
def test_every_weight_lies_on_the_grid_that_its_channels_largest_weight_sets(
    name: str, pictures: Pictures
) -> None:
    rounding = round_weights(folded(name), pictures, 1)
    for weight in rounding.values():
        scale = np.abs(weight.before).max(axis=(1, 2, 3), keepdims=True).clip(1e-30) / 127
        steps = weight.rounded / scale
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
        largest = np.abs(weight.before).max(axis=(1, 2, 3))
        np.testing.assert_allclose(np.abs(weight.rounded).max(axis=(1, 2, 3)), largest, rtol=1e-5)


@pytest.mark.parametrize("name", ["light", "pretrained"])
def test_a_rounded_network_says_more_nearly_the_same_than_with_nearest_weights(
    name: str, pictures: Pictures
) -> None:
    model = folded(name)
    rounding = round_weights(model, pictures, 1)
    exact = masks(model, pictures)

    def error(choose: str) -> float:
        state = dict(model.state_dict())
        for layer, weight in rounding.items():
            value = weight.rounded if choose == "rounded" else nearest(weight.before)
            state[layer] = torch.from_numpy(value)
        other = folded(name)
        other.load_state_dict(state)
        return float((masks(other, pictures) - exact).std())

    assert error("rounded") < 0.7 * error("nearest")


def test_first_layers_stay_and_the_model_is_not_changed(pictures: Pictures) -> None:
    model = folded("pretrained")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = set(round_weights(model, pictures, 3))
    assert "trunk.stem.0.weight" not in names
    assert "trunk.stages.0.0.narrow.0.weight" not in names
    assert "trunk.stages.1.0.widen.0.weight" in names
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_both_runtimes_carry_the_rounded_weights(tmp_path: Path, pictures: Pictures) -> None:
    torch.manual_seed(0)
    model = make_network("light", 1).eval()
    member = TorchMember(model, model.final)
    member.settle(pictures)
    rounding = round_weights(model, pictures, 1)
    member.export(tmp_path, 0, pictures, 1.0)
    onnx, litert = _onnx_int8(tmp_path), _litert_int8(tmp_path)
    for weight in rounding.values():
        steps = _steps(weight)
        if len(steps) == 1:  # LiteRT's interpreter does not tell it from an activation
            continue
        assert any(np.array_equal(steps, found) for found in onnx)
        assert any(np.array_equal(steps.transpose(0, 2, 3, 1), found) for found in litert)


def _steps(weight: Weight) -> NDArray[np.int8]:
    scale = np.abs(weight.rounded).max(axis=(1, 2, 3), keepdims=True).clip(1e-30) / 127
    return np.asarray(np.round(weight.rounded / scale), np.int8)


def _onnx_int8(folder: Path) -> list[NDArray[np.int8]]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(folder / "model/int8.onnx")).graph
    arrays = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
    return [array for array in arrays if array.dtype == np.int8 and array.ndim == 4]


def _litert_int8(folder: Path) -> list[NDArray[np.int8]]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(folder / "model/int8.tflite"),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    found = [
        interpreter.get_tensor(one["index"])
        for one in interpreter.get_tensor_details()
        if one["dtype"] == np.int8 and one["quantization_parameters"]["scales"].size > 1
    ]
    return [array for array in found if array.ndim == 4]
