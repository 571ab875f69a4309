"""Messages of the plant's broker as the trigger: each message on the topic is a part.

Its payload is empty, a part id as plain text, or JSON as of the HTTP trigger. Nobody can be told that
a payload is wrong, and the part is there: it is taken, with what can be kept of its words. A retained
message tells of a part of long ago and is passed over. The session is not kept: what the broker would
hold for a station that was away are parts that have passed.
"""

import ssl
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.section import PlantTopic
from edge_agent.trigger.base import Fire, Signal, Tell, tidy
from edge_agent.trigger.http import words
from edge_agent.trigger.settings import MqttTrigger as MqttConfig
from fleet_contract.clock import Clock
from fleet_contract.errors import ConfigError, DataError

_KEEPALIVE_S = 15
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1, 10


class TopicListener:
    """Listens to a topic; connects by itself, again and again.

    `what` it is to the line: trigger, judge. Raises ConfigError for files that cannot be read.
    """

    def __init__(self, config: PlantTopic, what: str, tell: Tell) -> None:
        self._config, self._what, self._tell = config, what, tell
        self._take: Callable[[bytes], object] | None = None
        self._lost = False
        self._client = self._made()

    def _made(self) -> Client:
        config = self._config
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=config.client, protocol=MQTTv311,
            clean_session=True,
        )  # fmt: skip
        try:
            if config.ca is not None:
                client.tls_set_context(ssl.create_default_context(cafile=str(config.ca)))
            if config.user:
                file = config.password_file
                word = file.read_text("utf-8").strip() if file is not None else None
                client.username_pw_set(config.user, word)
        except OSError as error:
            what = self._what
            raise ConfigError(f"{what}.ca or {what}.password_file: {error}") from error
        client.reconnect_delay_set(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        client.on_connect = self._connected
        client.on_connect_fail = lambda *_: self._is_lost("no connection")
        client.on_disconnect = self._disconnected
        client.on_message = self._came
        return client

    def start(self, take: Callable[[bytes], object]) -> None:
        """Hands on each payload, from the client's thread."""
        self._take = take
        self._client.connect_async(self._config.host, self._config.port, _KEEPALIVE_S)
        self._client.loop_start()

    def close(self) -> None:
        """Ends; nothing comes after."""
        self._client.on_disconnect = None
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        if code.is_failure:
            self._is_lost(str(code))
            return
        client.subscribe(self._config.topic, qos=1)
        if self._lost:
            self._lost = False
            self._tell(self._what, f"{self._name} is back", "info")

    def _disconnected(self, *words: Any) -> None:
        self._is_lost(str(words[3]))

    def _is_lost(self, why: str) -> None:
        if not self._lost:
            self._lost = True
            text = f"{self._name} is lost: {why}; what it tells meanwhile is not heard"
            self._tell(self._what, text, "error")

    @property
    def _name(self) -> str:
        return f"the {self._what} mqtt {self._config.host}:{self._config.port}"

    def _came(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if not message.retain and self._take is not None:
            self._take(bytes(message.payload))


class MqttTrigger:
    """Raises ConfigError for files that cannot be read."""

    def __init__(self, config: MqttConfig, clock: Clock, tell: Tell) -> None:
        self._clock = clock
        self._topic = TopicListener(config, "trigger", tell)

    def start(self, fire: Fire) -> None:
        self._topic.start(lambda payload: fire(self._signal(payload)))

    def close(self) -> None:
        self._topic.close()

    def _signal(self, payload: bytes) -> Signal:
        at_s = self._clock.monotonic()
        try:
            external_id, recipe = words(payload)
        except DataError:
            external_id, recipe = payload.decode("utf-8", "replace").strip(), ""
        return Signal(at_s, tidy(external_id), tidy(recipe))
