"""A bare MQTT client for tests: connected, subscribed, and remembering what came."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from paho.mqtt.client import Client, DisconnectFlags, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.support.broker import TestBroker
from tests.support.wait import eventually


class Peer:
    """One connection with one certificate; `received` holds (topic, payload) in order."""

    def __init__(self, broker: TestBroker, name: str, *, client_id: str = "") -> None:
        self.received: list[tuple[str, bytes]] = []
        self.disconnections = 0
        self._subscribed: set[int] = set()
        self._broker = broker
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id=client_id or name, protocol=MQTTv311
        )
        certificate, key = broker.credentials(name)
        self.client.tls_set(
            ca_certs=str(broker.ca),
            certfile=str(certificate),
            keyfile=str(key),
            cert_reqs=ssl.CERT_REQUIRED,
        )
        self.client.on_message = self._on_message
        self.client.on_disconnect = self._on_disconnect
        self.client.on_subscribe = self._on_subscribe

    def connect(self) -> "Peer":
        """Returns when the broker has accepted; fails where it does not."""
        self.client.connect(self._broker.host, self._broker.port, keepalive=10)
        self.client.loop_start()
        eventually(self.client.is_connected, 10, "the broker accepts the client")
        return self

    def subscribe(self, *filters: str) -> None:
        """QoS 1; returns with the SUBACK, which mosquitto gives for forbidden topics too."""
        _, number = self.client.subscribe([(one, 1) for one in filters])
        eventually(lambda: number in self._subscribed, 10, f"subscribed {filters}")

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """QoS 1; returns with the PUBACK, which mosquitto gives for forbidden topics too."""
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def drop(self) -> None:
        """Cuts the connection without a goodbye, so that the last will is sent."""
        self.client.loop_stop()
        sock = self.client.socket()
        assert sock is not None
        sock.close()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.received.append((message.topic, bytes(message.payload)))

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        _code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self.disconnections += 1

    def _on_subscribe(
        self,
        _client: Client,
        _data: object,
        number: int,
        _codes: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._subscribed.add(number)


@contextmanager
def peer(broker: TestBroker, name: str, *, client_id: str = "") -> Iterator[Peer]:
    """A connected peer that is closed at the end."""
    made = Peer(broker, name, client_id=client_id).connect()
    try:
        yield made
    finally:
        made.close()
