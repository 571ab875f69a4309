"""Names that stand in topics, paths and certificates, and the vocabulary of states."""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

DEVICE_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
DIGEST_PATTERN = r"^[0-9a-f]{64}$"
LINE_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
ID_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"

DeviceName = Annotated[str, StringConstraints(pattern=DEVICE_PATTERN)]
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
LineName = Annotated[str, StringConstraints(pattern=LINE_PATTERN)]
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]

RESERVED_DEVICES = frozenset({"server", "all", "enrol"})
"""Common names that the certificate authority never gives to a device."""


def is_device(name: str) -> bool:
    """Whether `name` may be a device's: the CA's rule, and safe as one topic level."""
    return re.fullmatch(DEVICE_PATTERN[1:-1], name) is not None and name not in RESERVED_DEVICES


class Verdict(StrEnum):
    """What a part ends in."""

    ACCEPT = "accept"
    REJECT = "reject"
    NO_DECISION = "no_decision"


class Slot(StrEnum):
    """Where a bundle lives on a device, per line."""

    ACTIVE = "active"
    PREVIOUS = "previous"
    CANDIDATE = "candidate"


class Runtime(StrEnum):
    """Which runtime executes a model file."""

    ONNX = "onnx"
    LITERT = "litert"


class Precision(StrEnum):
    """The arithmetic of a model file."""

    FP32 = "fp32"
    INT8 = "int8"


class UpdateState(StrEnum):
    """States of an update on a device, in their order."""

    IDLE = "idle"
    FETCHING = "fetching"
    VERIFIED = "verified"
    STAGED = "staged"
    SELF_TEST = "self_test"
    SHADOW = "shadow"
    CANARY = "canary"
    """A candidate judges a share of the station's parts."""
    ACTIVATING = "activating"
    PROBATION = "probation"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    SUPERSEDED = "superseded"
