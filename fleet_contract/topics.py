"""Every topic, in one table: built here, parsed here, documented from here.

The reference page is generated from `TABLE` (`python -m fleet_contract.reference`); a test keeps
the page equal to the table.
"""

import re
from dataclasses import dataclass
from typing import Literal

from fleet_contract.errors import ContractError
from fleet_contract.names import DEVICE_PATTERN, DIGEST_PATTERN, ID_PATTERN

PREFIX = "loupe/v1"
KIB, MIB = 2**10, 2**20
BLOCK_LIMIT = 256 * KIB
"""The largest block of raw bytes in one message."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One row: who publishes what where, and how large it may be."""

    name: str
    template: str
    publisher: Literal["device", "server"]
    payload: str
    qos: Literal[0, 1]
    retain: bool
    limit: int
    """Largest payload in bytes; a larger one is refused before it is parsed."""
    purpose: str


TABLE: tuple[Topic, ...] = (
    Topic("state", "dev/{device}/up/state", "device", "SignedState", 1, True, 64 * KIB,
          "what the device really runs: digests per line and slot, versions, health; signed by the device's key"),
    Topic("link", "dev/{device}/up/link", "device", "LinkStatus", 1, True, 1 * KIB,
          "online, or offline as the last will, with the connection's id"),
    Topic("heartbeat", "dev/{device}/up/heartbeat", "device", "Heartbeat", 0, False, 8 * KIB,
          "health of the device: memory, processor, disk, throughput, spool depth"),
    Topic("windows", "dev/{device}/up/windows", "device", "Envelope", 1, False, BLOCK_LIMIT,
          "statistics windows; histograms as base64 in JSON"),
    Topic("parts", "dev/{device}/up/parts", "device", "Envelope", 1, False, BLOCK_LIMIT,
          "verdicts, in batches"),
    Topic("events", "dev/{device}/up/events", "device", "Envelope", 1, False, 64 * KIB,
          "update steps, faults, operator acts"),
    Topic("samples", "dev/{device}/up/samples/{id}/{n}", "device", "Envelope, then bytes", 1, False, BLOCK_LIMIT,
          "an image chosen for review, lossless: block 0 its record, then its bytes"),
    Topic("req", "dev/{device}/up/req/{id}", "device", "Request", 1, False, 64 * KIB,
          "requests: metadata, block hashes, blocks, joining a broadcast"),
    Topic("res", "dev/{device}/down/res/{id}/{n}", "server", "ResponseHead, then bytes", 1, False, BLOCK_LIMIT,
          "answers: block 0 is the head, then blocks of bytes from 1"),
    Topic("desired", "dev/{device}/down/desired", "server", "Desired", 1, True, 1 * KIB,
          "a hint to look for new assignments"),
    Topic("ack", "dev/{device}/down/ack", "server", "Ack", 1, False, 4 * KIB,
          "per stream, the highest contiguous number stored"),
    Topic("cmd", "dev/{device}/down/cmd", "server", "Command", 1, False, 8 * KIB,
          "a command, answered as an event"),
    Topic("bundle", "all/bundle/{digest}/{n}", "server", "bytes", 0, False, BLOCK_LIMIT,
          "block n of a wire encoding, published once for a whole wave"),
)  # fmt: skip

BY_NAME = {topic.name: topic for topic in TABLE}

_FIELDS = {
    "device": DEVICE_PATTERN[1:-1],
    "digest": DIGEST_PATTERN[1:-1],
    "id": ID_PATTERN[1:-1],
    "n": r"0|[1-9][0-9]{0,8}",
}


def _pattern(template: str) -> re.Pattern[str]:
    levels = [
        f"(?P<{level[1:-1]}>{_FIELDS[level[1:-1]]})" if level.startswith("{") else re.escape(level)
        for level in template.split("/")
    ]
    return re.compile("/".join([re.escape(PREFIX), *levels]))


_PATTERNS = {topic.name: _pattern(topic.template) for topic in TABLE}


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed topic: the row's name and the values of its levels ('' or -1 where it has none)."""

    name: str
    device: str = ""
    id: str = ""
    digest: str = ""
    n: int = -1


def build(name: str, **levels: str | int) -> str:
    """The topic of row `name` with its levels filled in; every level is checked.

    Raises ContractError for an unknown row, a missing level, or one that breaks its pattern.
    """
    if name not in BY_NAME:
        raise ContractError(f"no topic is called {name!r}", expected=", ".join(BY_NAME), found=name)
    text = f"{PREFIX}/{BY_NAME[name].template}"
    for key, value in levels.items():
        if not re.fullmatch(_FIELDS.get(key, "(?!)"), str(value)):
            raise ContractError(
                f"{value!r} cannot stand as {key} in topic {name}",
                expected=_FIELDS.get(key, "a level of this topic"),
            )
        text = text.replace("{" + key + "}", str(value))
    if "{" in text:
        raise ContractError(f"topic {name} lacks a level", expected=text)
    return text


def parse(topic: str) -> Address:
    """The address that `topic` names. Raises ContractError where it is none of the table's."""
    for name, pattern in _PATTERNS.items():
        match = pattern.fullmatch(topic)
        if match:
            found = match.groupdict()
            return Address(
                name,
                device=found.get("device", ""),
                id=found.get("id", ""),
                digest=found.get("digest", ""),
                n=int(found.get("n", -1)),
            )
    raise ContractError(f"unknown topic {topic[:200]!r}", expected=f"one below {PREFIX}/")


def subscription(name: str, **levels: str | int) -> str:
    """Row `name` as a subscription filter: a level that is not given becomes `+`."""
    template = BY_NAME[name].template
    filled = [
        str(levels.get(level[1:-1], "+")) if level.startswith("{") else level
        for level in template.split("/")
    ]
    return "/".join([PREFIX, *filled])


def check_size(name: str, payload: bytes) -> None:
    """Raises ContractError where `payload` is larger than the row allows."""
    limit = BY_NAME[name].limit
    if len(payload) > limit:
        raise ContractError(
            f"message on {name} is too large",
            expected=f"at most {limit} bytes",
            found=f"{len(payload)} bytes",
        )
