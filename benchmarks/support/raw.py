"""The broker alone: the same bytes in the same blocks, to bare subscribers, as fast as it takes them."""

import multiprocessing
import queue
import ssl
import threading
import time
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from fleet_contract import blocks, topics
from fleet_contract.topics import BLOCK_LIMIT
from hil.story.api import StoryError

_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Identity:
    """Who connects to which broker: a folder's certificate, the name in it, and the port."""

    name: str
    certificate: Path
    key: Path
    ca: Path
    port: int


def raw_seconds(sender: Identity, receivers: list[Identity], data: bytes, digest: str) -> float:
    """From the first block's publishing until every receiver has all bytes of `data`.

    QoS 0, blocks of BLOCK_LIMIT, no pacing; each receiver is a process of its own, like an agent.
    Raises StoryError where one does not get everything.
    """
    context = multiprocessing.get_context("spawn")
    told: Queue[float] = context.Queue()
    processes = [
        context.Process(target=_receive, args=(one, digest, len(data), told), daemon=True)
        for one in receivers
    ]
    for process in processes:
        process.start()
    try:
        _all(told, len(processes), "subscribed")
        client = _connected(sender)
        started = _send(client, digest, data)
        finished = max(_all(told, len(processes), "got every byte"))
        client.disconnect()
        client.loop_stop()
    finally:
        for process in processes:
            process.terminate()
            process.join()
    return finished - started


def _all(told: "Queue[float]", count: int, what: str) -> list[float]:
    try:
        return [told.get(timeout=_PATIENCE_S) for _ in range(count)]
    except queue.Empty:
        raise StoryError(f"a bare subscriber has not {what} in {_PATIENCE_S:.0f} s") from None


def _send(client: Client, digest: str, data: bytes) -> float:
    started = time.monotonic()
    for index in range(blocks.block_count(len(data), BLOCK_LIMIT)):
        part = blocks.block(data, index, BLOCK_LIMIT)
        client.publish(topics.build("bundle", digest=digest, n=index), part, qos=0)
    return started


def _receive(identity: Identity, digest: str, length: int, told: "Queue[float]") -> None:
    """In a process of its own: says when it is subscribed, and when it has `length` bytes."""
    left, done = length, threading.Event()

    def hear(_client: Client, _data: object, message: MQTTMessage) -> None:
        nonlocal left
        left -= len(message.payload)
        if left <= 0:
            told.put(time.monotonic())
            done.set()

    client = _connected(identity)
    client.on_message = hear
    client.on_subscribe = lambda *_: told.put(time.monotonic())
    client.subscribe(topics.subscription("bundle", digest=digest), qos=0)
    done.wait(_PATIENCE_S)
    client.disconnect()
    client.loop_stop()


def _connected(identity: Identity) -> Client:
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=identity.name, protocol=MQTTv311, clean_session=True
    )
    client.tls_set(
        ca_certs=str(identity.ca), certfile=str(identity.certificate),
        keyfile=str(identity.key), cert_reqs=ssl.CERT_REQUIRED,
    )  # fmt: skip
    ready = threading.Event()
    client.on_connect = lambda *_: ready.set()
    client.connect("localhost", identity.port)
    client.loop_start()
    if not ready.wait(_PATIENCE_S):
        raise StoryError(f"the broker does not accept {identity.name}")
    return client
