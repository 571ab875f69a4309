"""The first layers of a network stay float: at full resolution, on few channels, int8 gains nothing
there and its error goes through everything after."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FirstLayers:
    """The same layers as each runtime's converter names them."""

    convolutions: int
    """ONNX: so many convolutions from the input on."""
    scope: str
    """LiteRT: regular expression over the tensor's name, which holds the modules' names."""


PRETRAINED_FIRST = FirstLayers(3, r".*PretrainedTrunk_trunk/.*Sequential_(stem|0/).*")
LIGHT_FIRST = FirstLayers(1, r".*ConvBlock_at_2/.*")
NO_FIRST = FirstLayers(0, "")
