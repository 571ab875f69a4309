"""One MQTT connection after the other, on a thread of its own: mutual TLS, last will, backoff.

A client object lives as long as its connection: what paho had queued dies with it, and the spool
sends again what was not acknowledged.
"""

import contextlib
import logging
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from paho.mqtt.client import (
    MQTT_ERR_SUCCESS,
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    MQTTMessageInfo,
    MQTTv311,
)
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.config import LinkConfig
from edge_agent.link_rules import Backoff, RateLimit, TakeoverWatch
from fleet_contract import topics
from fleet_contract.clock import Clock
from fleet_contract.errors import ConfigError
from fleet_contract.messages import LinkStatus

log = logging.getLogger(__name__)

_INFLIGHT = 100
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python has no name for."""
_HANDSHAKE_S = 10.0
"""A broker that has not answered the handshake by then is given up."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the connection calls, on its own thread."""

    connected: Callable[[], None]
    message: Callable[[str, bytes], None]
    lost: Callable[[], None]
    takeover: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _HandedOver:
    """A message on its way to the broker."""

    name: str
    size: int
    at_s: float
    info: MQTTMessageInfo


class Connection:
    """Keeps the device connected until `stop`."""

    def __init__(self, device: str, config: LinkConfig, hooks: Hooks, clock: Clock) -> None:
        """`clock`: its wall time judges the broker's certificate; by the other one runs what is
        published: its rate, and how long it takes to the broker."""
        self._device, self._config, self._hooks = device, config, hooks
        self._clock, self._limit = clock, RateLimit(config.max_rate, clock.monotonic())
        self._handed_over: list[_HandedOver] = []
        self._tls = tls_context(config)
        # The clock may stand in 1970: certificates are judged by a time that is not before the last
        # one that was verified, once the handshake is done.
        self._tls.verify_flags |= _NO_CHECK_TIME
        self._authority = _validity(config.ca)
        self._client: Client | None = None
        self._online = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._filters: set[str] = set()
        self._connected_s = 0.0
        self._ended = threading.Event()
        self._reason = "no answer"
        self.thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        """Begins to connect, and goes on for ever."""
        self.thread.start()

    @property
    def online(self) -> bool:
        """Whether the broker has accepted us."""
        return self._online.is_set()

    def publish(self, name: str, payload: bytes, **levels: str | int) -> bool:
        """Hands a message to the broker's connection; False where there is none."""
        topics.check_size(name, payload)
        row = topics.BY_NAME[name]
        topic = topics.build(name, device=self._device, **levels)
        with self._lock:
            if self._client is None or not self.online:
                return False
            info = self._client.publish(topic, payload, qos=row.qos, retain=row.retain)
            self._limit.spend(len(payload))
            if info.rc == MQTT_ERR_SUCCESS:
                now = self._clock.monotonic()
                self._handed_over.append(_HandedOver(name, len(payload), now, info))
        return True

    @property
    def may_send(self) -> bool:
        """Whether the limit of the link's rate leaves room; what cannot wait may overdraw it."""
        with self._lock:
            return self._limit.open(self._clock.monotonic())

    @property
    def unconfirmed(self) -> int:
        """Bytes that were published and that the broker has not confirmed."""
        with self._lock:
            return sum(one.size for one in self._waiting())

    def waited_s(self, name: str) -> float:
        """For how long a message on topic `name` has been waiting for the broker's confirmation."""
        with self._lock:
            since = [one.at_s for one in self._waiting() if one.name == name]
        return self._clock.monotonic() - min(since) if since else 0.0

    def _waiting(self) -> "list[_HandedOver]":
        # Asked for, not told: paho calls back under the lock that publishing takes.
        self._handed_over = [one for one in self._handed_over if not one.info.is_published()]
        return self._handed_over

    def subscribe(self, topic_filter: str, qos: int) -> None:
        """Now, and again after each reconnection."""
        with self._lock:
            self._filters.add(topic_filter)
            if self._client is not None and self.online:
                self._client.subscribe(topic_filter, qos)

    def unsubscribe(self, topic_filter: str) -> None:
        """No more of it."""
        with self._lock:
            self._filters.discard(topic_filter)
            if self._client is not None and self.online:
                self._client.unsubscribe(topic_filter)

    def stop(self) -> None:
        """Says goodbye (offline, retained) and ends the thread."""
        self._stop.set()
        with self._lock:
            client = self._client
        if client is not None and self.online:
            info = client.publish(
                topics.build("link", device=self._device),
                self._status(client, online=False),
                1,
                True,
            )
            with contextlib.suppress(RuntimeError, ValueError):
                info.wait_for_publish(2)
        if client is not None:
            client.disconnect()
        self.thread.join(timeout=5)

    def _run(self) -> None:
        backoff, takeovers, said = Backoff(0.2, 20), TakeoverWatch(), False
        while not self._stop.is_set():
            self._connected_s = 0.0
            reason = self._connect_once()
            now = time.monotonic()
            if self._connected_s:
                said = False
                lasted = now - self._connected_s
                if lasted > TakeoverWatch.SHORT_S:
                    backoff.reset()
                if takeovers.ended(lasted, now) and not self._stop.is_set():
                    self._hooks.takeover()
            if not said and not self._stop.is_set():
                said = True
                log.warning(
                    "no link to the broker at %s:%s (%s); inspection goes on, reports wait in the "
                    "spool, and the agent keeps trying", self._config.host, self._config.port, reason,
                )  # fmt: skip
            self._stop.wait(backoff.next())

    def _connect_once(self) -> str:
        """Connects, stays until the connection ends, and says why it did."""
        client = self._make_client()
        self._ended.clear()
        try:
            client.connect(self._config.host, self._config.port, int(self._config.keepalive))
        except (OSError, ValueError) as error:
            return str(error)
        finally:
            opened = time.monotonic()
        # paho writes from the publishing thread unless its own thread runs: always start it.
        client.loop_start()
        while not self._ended.wait(0.5):
            if not self.online and time.monotonic() - opened > _HANDSHAKE_S:
                break
        client.loop_stop()
        self._online.clear()
        with self._lock:
            self._client = None
        self._hooks.lost()
        return self._reason

    def _make_client(self) -> Client:
        connection_id = uuid.uuid4().hex
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._device,
            protocol=MQTTv311,
            reconnect_on_failure=False,
            userdata=connection_id,
        )
        client.tls_set_context(self._tls)
        client.max_inflight_messages_set(_INFLIGHT)
        client.connect_timeout = 5.0
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.will_set(
            topics.build("link", device=self._device), self._status(client, online=False), 1, True
        )
        with self._lock:
            self._client = client
            self._handed_over.clear()
        return client

    def _status(self, client: Client, *, online: bool) -> bytes:
        connection_id = str(client.user_data_get())
        return LinkStatus(online=online, connection_id=connection_id, time_s=time.time()).encode()

    def _on_socket_open(self, _client: Client, _data: Any, sock: Any) -> None:
        peer = sock.getpeercert()
        broker = [ssl.cert_time_to_seconds(peer[key]) for key in ("notBefore", "notAfter")]
        now_s = self._clock.time()
        for whose, (start_s, end_s) in (("broker", broker), ("authority", self._authority)):
            if not start_s <= now_s <= end_s:
                raise ssl.SSLCertVerificationError(
                    f"the certificate of the {whose} is not valid now: it or the clock is wrong"
                )
        # Without it, small messages wait for the one before to be acknowledged: 150 ms a round trip.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(
        self,
        client: Client,
        _data: Any,
        _flags: ConnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if code.is_failure:
            self._reason = f"the broker refuses this device: {code}"
            return
        with self._lock:
            self._connected_s = time.monotonic()
            client.subscribe([(topic_filter, 1) for topic_filter in sorted(self._filters)])
            self._online.set()
        client.publish(
            topics.build("link", device=self._device), self._status(client, online=True), 1, True
        )
        log.info("connected to the broker at %s:%s", self._config.host, self._config.port)
        self._hooks.connected()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._hooks.message(message.topic, bytes(message.payload))

    def _on_disconnect(
        self,
        _client: Client,
        _data: Any,
        _flags: DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self.online:
            self._reason = f"the connection ended: {code}"
        self._online.clear()
        self._ended.set()


def _validity(path: Path) -> list[float]:
    """From when until when all certificates in a file are valid, in seconds since 1970."""
    found = x509.load_pem_x509_certificates(path.read_bytes())
    start_s = max(one.not_valid_before_utc.timestamp() for one in found)
    return [start_s, min(one.not_valid_after_utc.timestamp() for one in found)]


def tls_context(config: LinkConfig) -> ssl.SSLContext:
    """Mutual TLS with the fleet's own authority. Raises ConfigError that names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(config.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"link.ca: {config.ca}: {error}") from error
    try:
        context.load_cert_chain(config.cert, config.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"link.cert, link.key: {config.cert}, {config.key}: {error}",
            remedy="`loupe-server device add` writes a pair that belongs together.",
        ) from error
    return context
