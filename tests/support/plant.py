"""A broker of the plant for tests: without TLS, with a program that listens and publishes."""

import getpass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from fleet_server.broker import BrokerProcess, start_broker
from tests.support.broker import free_port


class Plant:
    """Started and stopped at will, on one port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "plant.conf"
        # The listener's session outlives a restart: who is back before it loses nothing to it.
        self._config.write_text(
            f"user {getpass.getuser()}\nlistener {self.port} 127.0.0.1\nallow_anonymous true\n"
            f"persistence true\npersistence_location {folder}/\n"
        )
        self.heard: list[tuple[str, bytes]] = []
        """Topic and payload of what came below `plant/`."""
        self._broker: BrokerProcess | None = None

    def start(self) -> None:
        """Listens when it returns."""
        self._broker = start_broker(self._config)
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="scada", clean_session=False)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", self.port)
        self._client.subscribe("plant/#", 1)
        self._client.loop_start()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload)))

    def publish(self, topic: str, payload: str | bytes, *, retain: bool = False) -> None:
        """QoS 1; returns with the broker's word."""
        self._client.publish(topic, payload, 1, retain).wait_for_publish(10)

    def stop(self) -> None:
        """Gone; what it retained and its sessions stay on disk."""
        if self._broker is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._broker.stop()
            self._broker = None
