"""The errors of Loupe.

    LoupeError                 says what happened, what was expected, what came, what to do
    |-- ConfigError            a file or option that a person wrote is wrong
    |-- DataError              an image, mask or dataset is not what it should be
    |   `-- UnknownRecipe      the trigger names a recipe that the bundle does not know
    |-- ContractError          a topic, message or window breaks the contract
    |-- BundleError            an archive or its manifest is not what it should be
    |-- TrustError             signatures, roles, assignments or floors refuse it
    |-- TransferError          bytes did not arrive, or not the right ones
    |-- ModelError           a model does not load or does not run
    |-- StateError             the act is not allowed in this state
    `-- ResourceError          a port, a disk, a lock or a program is not to be had

`Blame` groups failures by who can mend them, as update results report them.
"""

from enum import StrEnum


class Blame(StrEnum):
    """Who can mend a failed update step."""

    DEVICE = "device"
    NETWORK = "network"
    PERMISSION = "permission"
    BUNDLE = "bundle"


class LoupeError(Exception):
    """An error for a person: what happened, and where known what was expected, what came, what to do."""

    blame = Blame.DEVICE

    def __init__(self, what: str, *, expected: str = "", found: str = "", remedy: str = "") -> None:
        self.what, self.expected, self.found, self.remedy = what, expected, found, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.found:
            parts.append(f"found {self.found}")
        text = "; ".join(parts)
        return f"{text}. {self.remedy}" if self.remedy else text


class ConfigError(LoupeError):
    """A file or option that a person wrote is wrong."""


class DataError(LoupeError):
    """An image, a mask or a dataset is not what it should be."""


class UnknownRecipe(DataError):  # noqa: N818
    """The trigger names a recipe that the bundle does not know."""


class ContractError(LoupeError):
    """A topic, message or window breaks the contract."""


class BundleError(LoupeError):
    """An archive or its manifest is not what it should be."""

    blame = Blame.BUNDLE


class TrustError(LoupeError):
    """Signatures, roles, assignments or floors refuse it."""

    blame = Blame.PERMISSION


class TransferError(LoupeError):
    """Bytes did not arrive, or not the right ones."""

    blame = Blame.NETWORK


class ModelError(LoupeError):
    """A model does not load or does not run."""

    blame = Blame.BUNDLE


class StateError(LoupeError):
    """The act is not allowed in this state."""


class ResourceError(LoupeError):
    """A port, a disk, a lock or a program is not to be had."""
