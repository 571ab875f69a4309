"""A network's weights as a file of the bundle, so that a challenger can start from its champion."""

import io
import zipfile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fleet_contract.errors import BundleError


def weights_name(member: int) -> str:
    """Its name in a bundle. Devices do not read it; with it a line keeps what its models have learnt."""
    return f"training/weights-{member}.npz"


def pack_weights(model: nn.Module) -> bytes:
    """NumPy's zip of every weight and BatchNorm statistic; the same weights are the same bytes."""
    buffer = io.BytesIO()
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def load_weights(model: nn.Module, data: bytes) -> bool:
    """Takes the weights over; False, and nothing is changed, where they are of another network.

    Raises BundleError for bytes that are no weights.
    """
    arrays = _read(data)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if wanted != {name: value.shape for name, value in arrays.items()}:
        return False
    model.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    return True


def _read(data: bytes) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"the weights of the bundle cannot be read: {error}") from error
