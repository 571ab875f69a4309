"""Cameras for tests, each the other end of its protocol in a process that can be frozen and killed."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from tests.support.broker import free_port
from tests.support.wait import eventually

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"
"""It has the system's bindings of GStreamer; the virtual environment has not."""


class Peer:
    """A process at the other end; it listens on `port` where that is TCP."""

    def __init__(self, command: list[str], port: int | None) -> None:
        self._command, self._port = command, port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it listens."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if self._port is not None:
            eventually(self._listens, 20, f"{self._command[2]} listens")

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port or 0), 1).close()
        except OSError:
            return False
        return True

    def freeze(self) -> None:
        """It is there, and does nothing more."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone."""
        if self._process is not None:
            self._send(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def mjpeg_peer(folder: Path, *words: str) -> tuple[Peer, str]:
    """It sends red pictures with a black square, 64x48; its address."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    (folder / "1.jpg").write_bytes(jpeg())
    command = [sys.executable, "-P", str(HERE / "mjpeg_peer.py"), str(port), str(folder), *words]
    return Peer(command, port), f"http://name:secret@127.0.0.1:{port}/stream?quality=9"


def coloured_peer(folder: Path, name: str) -> tuple[Peer, str]:
    """A network camera whose picture is red, green or blue all over; its address."""
    peer, url = mjpeg_peer(folder)
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :, ("blue", "green", "red").index(name)] = 200
    (folder / "1.jpg").write_bytes(bytes(cv2.imencode(".jpg", image)[1]))
    return peer, url


def rtsp_peer() -> tuple[Peer, str]:
    """It sends red pictures, 96x64; its address."""
    port = free_port()
    command = [SYSTEM_PYTHON, "-P", str(HERE / "rtsp_peer.py"), str(port)]
    return Peer(command, port), f"rtsp://name:secret@127.0.0.1:{port}/part"


def gige_peer(*words: str) -> tuple[Peer, str]:
    """A GigE Vision camera on loopback, 512x512 in grey, 25 a second; its address."""
    return Peer(["arv-fake-gv-camera-0.8", "-i", "lo", "-s", "LOUPE", *words], None), "127.0.0.1"


@contextmanager
def running(peer: Peer) -> Iterator[Peer]:
    """Started, and gone at the end."""
    peer.start()
    try:
        yield peer
    finally:
        peer.kill()


def jpeg() -> bytes:
    """Red with a black square, 64x48."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :, 2] = 200
    image[:16, :16] = 0
    return bytes(cv2.imencode(".jpg", image)[1])


def video(path: Path, frames: int) -> None:
    """A file whose frame n (from 0) is grey all over at level 10 n, 64x48."""
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48)
    )
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()
