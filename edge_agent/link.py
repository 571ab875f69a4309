"""The device's side of the topics: requests and their answers, broadcasts, acks, hints, commands."""

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from edge_agent.config import LinkConfig
from edge_agent.connection import Connection, Hooks
from fleet_contract import topics
from fleet_contract.clock import Clock
from fleet_contract.errors import ContractError, TransferError
from fleet_contract.messages import Ack, Command, Desired, Request, ResponseHead
from fleet_contract.trust.client import NotThere

log = logging.getLogger(__name__)

_MAX_ANSWER_BYTES = 16 * 2**20
_MIN_BLOCK_BYTES = 1024
"""What a block counts for at least: many empty ones fill the memory too."""


@dataclass(slots=True)
class _Pending:
    """An answer that is coming together."""

    head: ResponseHead | None = None
    blocks: dict[int, bytes] = field(default_factory=dict)
    received: int = 0
    """Bytes taken so far, those of repeated blocks included."""
    failure: str = ""
    done: threading.Event = field(default_factory=threading.Event)

    def take(self, number: int, payload: bytes) -> None:
        """Block `number` of the answer; 0 is its head. One that grows without an end is given up."""
        if self.done.is_set():
            return
        self.received += max(len(payload), _MIN_BLOCK_BYTES)
        if number == 0:
            self.head = ResponseHead.decode(payload)
        else:
            self.blocks[number] = payload
        length = max(self.received, self.head.length if self.head else 0)
        if length > _MAX_ANSWER_BYTES:
            self.failure = f"the answer is too long: {length} bytes"
            self.blocks.clear()
        if self.failure or self.complete():
            self.done.set()

    def complete(self) -> bool:
        return self.head is not None and len(self.blocks) >= self.head.blocks


@dataclass(slots=True)
class Listeners:
    """Who hears what comes down; called on the link's thread, must not block."""

    connected: Callable[[], None]
    ack: Callable[[Ack], None]
    desired: Callable[[Desired], None]
    command: Callable[[Command], None]
    takeover: Callable[[], None]


class Link:
    """Thread-safe."""

    def __init__(self, device: str, config: LinkConfig, listeners: Listeners, clock: Clock) -> None:
        self._device, self._config, self._listeners = device, config, listeners
        self._pending: dict[str, _Pending] = {}
        self._bundles: dict[str, Callable[[int, bytes], None]] = {}
        self._lock = threading.Lock()
        self.refused_messages = 0
        """Messages from the server that broke the contract."""
        hooks = Hooks(listeners.connected, self._on_message, self._on_lost, listeners.takeover)
        self.connection = Connection(device, config, hooks, clock)
        for name in ("res", "desired", "ack", "cmd"):
            self.connection.subscribe(topics.subscription(name, device=device), 1)

    def start(self) -> None:
        """Begins to connect."""
        self.connection.start()

    def stop(self) -> None:
        """Says goodbye."""
        self.connection.stop()

    @property
    def online(self) -> bool:
        """Whether the broker has accepted us."""
        return self.connection.online

    def publish(self, name: str, payload: bytes, **levels: str | int) -> bool:
        """False where there is no connection."""
        return self.connection.publish(name, payload, **levels)

    def metadata(self, path: str) -> bytes:
        """A TUF file. Raises NotThere, TransferError."""
        return self.request(Request(op="metadata", path=path))

    def request(self, request: Request) -> bytes:
        """Asks the server and waits. Raises NotThere for a 404, TransferError for any other failure."""
        number, pending = uuid.uuid4().hex, _Pending()
        with self._lock:
            self._pending[number] = pending
        try:
            if not self.publish("req", request.encode(), id=number):
                raise TransferError("no connection to the broker")
            if not pending.done.wait(self._config.request_timeout):
                raise TransferError(
                    f"the server did not answer {request.op} {request.path}".rstrip(),
                    expected=f"an answer within {self._config.request_timeout:g} s",
                    remedy="The agent asks again; is the server running?",
                )
            return _answer(request, pending)
        finally:
            with self._lock:
                del self._pending[number]

    @contextmanager
    def broadcast(self, digest: str, receive: Callable[[int, bytes], None]) -> Iterator[None]:
        """Hears the blocks of an encoding while the context lasts, on the link's thread."""
        topic_filter = topics.subscription("bundle", digest=digest)
        self._bundles[digest] = receive
        self.connection.subscribe(topic_filter, 0)
        try:
            yield
        finally:
            self.connection.unsubscribe(topic_filter)
            self._bundles.pop(digest, None)

    def _on_lost(self) -> None:
        with self._lock:
            waiting = list(self._pending.values())
        for pending in waiting:
            pending.failure = "the connection was lost"
            pending.done.set()

    def _on_message(self, topic: str, payload: bytes) -> None:
        try:
            address = topics.parse(topic)
            topics.check_size(address.name, payload)
            self._dispatch(address, payload)
        except ContractError as error:
            self.refused_messages += 1
            log.warning("a message from the server is refused: %s", error)

    def _dispatch(self, address: topics.Address, payload: bytes) -> None:
        if address.name == "res":
            self._response(address, payload)
        elif address.name == "bundle":
            receive = self._bundles.get(address.digest)
            if receive is not None:
                receive(address.n, payload)
        elif address.name == "ack":
            self._listeners.ack(Ack.decode(payload))
        elif address.name == "desired":
            self._listeners.desired(Desired.decode(payload))
        elif address.name == "cmd":
            self._listeners.command(Command.decode(payload))

    def _response(self, address: topics.Address, payload: bytes) -> None:
        with self._lock:
            pending = self._pending.get(address.id)
        if pending is not None:  # else the answer to a request that is given up
            pending.take(address.n, payload)


def _answer(request: Request, pending: _Pending) -> bytes:
    head = pending.head
    if pending.failure or head is None:
        raise TransferError(f"{request.op}: {pending.failure}")
    if head.status == 404:
        raise NotThere(f"the server has no {request.path or request.digest}")
    if head.status != 200:
        raise TransferError(f"the server answers {head.status} to {request.op}: {head.error}")
    with contextlib.suppress(KeyError):
        data = b"".join(pending.blocks[n] for n in range(1, head.blocks + 1))
        if len(data) == head.length:
            return data
    raise TransferError(f"the answer to {request.op} is not complete")
