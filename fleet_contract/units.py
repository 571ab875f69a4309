"""Quantities with their unit, as people write them in configuration: `2s`, `10MB`, `4Hz`, `200kB/s`."""

import re
from typing import Annotated

from pydantic import BeforeValidator

_NUMBER = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%/]*)\s*$")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_HERTZ = {"Hz": 1.0, "kHz": 1000.0}
_BYTES_PER_SECOND = {"B/s": 1, "kB/s": 10**3, "MB/s": 10**6, "kbit/s": 125, "Mbit/s": 125_000}


def _parse(text: object, units: dict[str, float] | dict[str, int], example: str) -> float:
    known = ", ".join(units)
    if not isinstance(text, str):
        raise ValueError(f"expected a quantity with its unit ({known}), such as {example!r}")
    match = _NUMBER.match(text)
    if match is None or match[2] not in units:
        raise ValueError(f"expected a number and one of the units {known}, such as {example!r}")
    return float(match[1]) * units[match[2]]


def parse_seconds(value: object) -> float:
    """`"250ms"` -> 0.25. Raises ValueError that names the units for anything else."""
    return _parse(value, _SECONDS, "2s")


def parse_bytes(value: object) -> int:
    """`"10MB"` -> 10_000_000. Raises ValueError that names the units for anything else."""
    return int(_parse(value, _BYTES, "10MB"))


def parse_hertz(value: object) -> float:
    """`"4Hz"` -> 4.0. Raises ValueError that names the units for anything else."""
    return _parse(value, _HERTZ, "4Hz")


def parse_rate(value: object) -> int:
    """`"200kB/s"` -> 200_000. Raises ValueError that names the units for anything else."""
    return int(_parse(value, _BYTES_PER_SECOND, "200kB/s"))


Seconds = Annotated[float, BeforeValidator(parse_seconds)]
"""A duration that a person writes with its unit; in code a float in seconds."""
Bytes = Annotated[int, BeforeValidator(parse_bytes)]
"""A size that a person writes with its unit; in code an int in bytes."""
Hertz = Annotated[float, BeforeValidator(parse_hertz)]
"""A rate that a person writes with its unit; in code a float in 1/s."""
BytesPerSecond = Annotated[int, BeforeValidator(parse_rate)]
"""What a link carries, as a person writes it with its unit; in code an int in bytes a second."""
