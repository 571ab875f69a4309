"""Sending to devices, as the rest of the server sees it."""

from collections.abc import Callable
from typing import Protocol

from fleet_contract.messages import Command, Request

RequestHandler = Callable[[str, str, Request], None]
"""(device, request id, request): answers on `res`; called on a thread of its own, never ingest's."""


class Publisher(Protocol):
    """Publishes on the topics of the table; safe from any thread."""

    @property
    def connected(self) -> bool:
        """Whether the broker is there now."""

    def publish(self, name: str, levels: dict[str, str | int], payload: bytes) -> None:
        """Sends `payload` on topic row `name`, with the row's QoS and retain flag.

        Raises ContractError where the topic or the size breaks the contract. Without a connection
        QoS 1 messages wait, QoS 0 messages are gone.
        """


def send_command(publisher: Publisher, device: str, command: Command) -> None:
    """Orders `device` to do something that is no update."""
    publisher.publish("cmd", {"device": device}, command.encode())
