"""A publisher that keeps what it is given, checked against the contract like the real one."""

from fleet_contract.topics import build, check_size


class Recorder:
    """Implements `fleet_server.link.publisher.Publisher`."""

    connected = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []

    def publish(self, name: str, levels: dict[str, str | int], payload: bytes) -> None:
        check_size(name, payload)
        self.sent.append((build(name, **levels), payload))

    def on(self, topic_end: str) -> list[bytes]:
        """Payloads on topics that end so, in order."""
        return [payload for topic, payload in self.sent if topic.endswith(topic_end)]
