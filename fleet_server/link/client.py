"""The server's MQTT connection: mutual TLS, one subscription, reconnects by itself."""

import logging
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fleet_contract.errors import ConfigError
from fleet_contract.topics import BY_NAME, PREFIX, build, check_size
from fleet_server.config import BrokerConfig
from fleet_server.link.ingest import Incoming
from fleet_server.link.worker import Writer

log = logging.getLogger(__name__)

_SUBSCRIPTION = f"{PREFIX}/dev/+/up/#"
_KEEPALIVE_S = 20
_WAITING = 20_000
"""Messages that may wait for the connection."""


class MqttPublisher:
    """A `Publisher` over one paho client, whose network thread also feeds a `Writer`."""

    def __init__(self, broker: BrokerConfig, pki: Path) -> None:
        self._broker = broker
        self._writer: Writer | None = None
        self._told = False
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="server", protocol=mqtt.MQTTv311
        )
        try:
            client.tls_set(
                ca_certs=str(pki / "ca.crt"),
                certfile=str(pki / "server.crt"),
                keyfile=str(pki / "server.key"),
            )
        except OSError as error:
            raise ConfigError(
                f"the server's certificate in {pki} cannot be read",
                found=str(error),
                remedy="`loupe-server init` makes it.",
            ) from error
        client.max_queued_messages_set(_WAITING)
        client.max_inflight_messages_set(200)
        client.reconnect_delay_set(1, 10)
        client.on_connect = self._connected
        client.on_connect_fail = self._unreachable
        client.on_disconnect = self._disconnected
        client.on_message = self._message
        self._client = client

    @property
    def connected(self) -> bool:
        """Whether the broker is there now."""
        return self._client.is_connected()

    def start(self, writer: Writer) -> None:
        """Connects in the background, and goes on trying."""
        self._writer = writer
        self._client.connect_async(self._broker.host, self._broker.port, _KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnects and ends the network thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, name: str, levels: dict[str, str | int], payload: bytes) -> None:
        """See `Publisher.publish`."""
        check_size(name, payload)
        row = BY_NAME[name]
        self._client.publish(build(name, **levels), payload, qos=row.qos, retain=row.retain)

    def _connected(
        self,
        client: mqtt.Client,
        _data: Any,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason != ReasonCode(PacketTypes.CONNACK, "Success"):
            log.error("the broker refuses the server: %s", reason)
            return
        self._told = False
        log.info("connected to the broker at %s:%d", self._broker.host, self._broker.port)
        client.subscribe(_SUBSCRIPTION, qos=1)

    def _unreachable(self, _client: mqtt.Client, _data: Any) -> None:
        if not self._told:
            log.warning(
                "no broker at %s:%d; start it with `mosquitto -c broker/mosquitto.conf` in the "
                "server's folder. Trying again until it is there",
                self._broker.host,
                self._broker.port,
            )
        self._told = True

    def _disconnected(
        self,
        _client: mqtt.Client,
        _data: Any,
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode | MQTTErrorCode,
        _properties: Properties | None,
    ) -> None:
        if reason != ReasonCode(PacketTypes.DISCONNECT, "Normal disconnection"):
            log.warning("the broker is gone (%s); trying again until it is there", reason)
            self._told = True

    def _message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if self._writer:
            self._writer.put(Incoming(message.topic, bytes(message.payload), message.retain))
