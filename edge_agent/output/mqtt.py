"""MQTT: each verdict as JSON to a broker of the plant, which is not the fleet's.

`{topic}/verdict` (QoS 1) has each part; `{topic}/ready` (retained, last will) is 1 or 0.
"""

import ssl
import threading
from typing import Any

from paho.mqtt.client import Client, MQTTMessageInfo, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.output.message import encode
from edge_agent.output.runner import PeerError
from edge_agent.output.signals import Told

_KEEPALIVE_S = 15


class MqttPeer:
    """A broker."""

    def __init__(
        self, *, host: str, port: int, topic: str, client: str, ca: str | None,
        user: str, password_file: str | None, timeout: float,
    ) -> None:  # fmt: skip
        self.name = f"mqtt {host}:{port}"
        self._address, self._topic, self._timeout_s = (host, port), topic, timeout
        self._id, self._ca = client, ca
        self._user, self._password_file = user, password_file
        self._client: Client | None = None
        self._answer = ""
        self._answered = threading.Event()

    def open(self) -> None:
        self.close()
        self._answered.clear()
        client = self._make()
        try:
            client.connect(*self._address, keepalive=_KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise PeerError(str(error)) from error
        self._client = client
        client.loop_start()
        if not self._answered.wait(self._timeout_s):
            raise PeerError("the broker does not answer")
        if self._answer:
            raise PeerError(f"the broker refuses: {self._answer}")

    def _make(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=self._id, protocol=MQTTv311,
            reconnect_on_failure=False,
        )  # fmt: skip
        client.connect_timeout = self._timeout_s
        try:
            if self._ca is not None:
                client.tls_set_context(ssl.create_default_context(cafile=self._ca))
            if self._user:
                client.username_pw_set(self._user, _password(self._password_file))
        except OSError as error:
            raise PeerError(str(error)) from error
        client.will_set(f"{self._topic}/ready", b"0", 1, True)

        def answered(_client: Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
            self._answer = str(code) if code.is_failure else ""
            self._answered.set()

        client.on_connect = answered
        return client

    def tell(self, told: Told) -> None:
        self._publish("verdict", encode(told), retain=False)

    def ready(self, ready: bool) -> None:
        self._publish("ready", b"1" if ready else b"0", retain=True)

    def _publish(self, name: str, payload: bytes, *, retain: bool) -> None:
        if self._client is None:
            raise PeerError("not connected")
        info: MQTTMessageInfo = self._client.publish(f"{self._topic}/{name}", payload, 1, retain)
        try:
            info.wait_for_publish(self._timeout_s)
            done = info.is_published()
        except (RuntimeError, ValueError) as error:
            raise PeerError(str(error)) from error
        if not done:
            raise PeerError("the broker does not acknowledge")

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None


def _password(path: str | None) -> str | None:
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs the guard a megabyte
        return file.read().strip()
