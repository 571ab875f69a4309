"""Equalisation: another form of the same network, which int8 can carry."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.export.equalise import equalise
from trainer.network import InspectionNet, PretrainedTrunk, make_network

Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    """Rough pictures under several lights."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (12, 16, 16, 1))
    grown = small.repeat(6, axis=1).repeat(6, axis=2) * np.linspace(0.3, 1, 12).reshape(-1, 1, 1, 1)
    return grown.astype(np.uint8)


def said(model: InspectionNet, pictures: Pictures) -> list[torch.Tensor]:
    tensor = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32))
    with torch.no_grad():
        return list(model(tensor))


def spread(model: InspectionNet, pictures: Pictures) -> float:
    """Ratio of the largest channel of the first stage's output to the median one."""
    found: list[torch.Tensor] = []
    assert isinstance(model.trunk, PretrainedTrunk)
    stage = next(iter(model.trunk.stages.children()))
    handle = stage.register_forward_hook(lambda _m, _i, out: found.append(out))
    said(model, pictures)
    handle.remove()
    peaks = found[0].abs().amax(dim=(0, 2, 3))
    return float(peaks.max() / peaks.median())


def test_it_changes_no_score_and_no_map(pictures: Pictures) -> None:
    torch.manual_seed(0)
    model = make_network("pretrained", 1, kinds=3).eval()
    before = said(model, pictures)
    equalise(model, pictures)
    for old, new in zip(before, said(model, pictures), strict=True):
        torch.testing.assert_close(old, new, atol=2e-3, rtol=1e-3)


def test_channels_of_a_linear_layer_come_to_one_range(pictures: Pictures) -> None:
    torch.manual_seed(0)
    model = make_network("pretrained", 1).eval()
    uneven = spread(model, pictures)
    equalise(model, pictures)
    assert spread(model, pictures) < 0.7 * uneven


def test_the_light_network_is_left_as_it_is(pictures: Pictures) -> None:
    model = make_network("light", 1).eval()
    before = [value.clone() for value in model.state_dict().values()]
    equalise(model, pictures)
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
