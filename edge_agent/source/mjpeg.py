"""Network cameras that send JPEG after JPEG in one HTTP answer (multipart/x-mixed-replace, RFC 2046)."""

import base64
import http.client
from email.message import Message
from urllib.parse import unquote, urlsplit

from edge_agent.source.base import CameraLost
from edge_agent.source.camera import Grab
from fleet_contract.clock import Clock
from fleet_contract.inference.preprocess import Frame, decode_image

_MAX_IMAGE_BYTES = 64 * 2**20
_MAX_LINE_BYTES = 64 * 2**10


class MjpegCamera:
    """`url` may carry a name and a password (basic authentication); no message shows them."""

    def __init__(self, url: str, channels: int, timeout_s: float, clock: Clock) -> None:
        self._parts = urlsplit(url)
        self._name = f"http://{self._parts.netloc.rpartition('@')[2]}{self._parts.path}"
        self._channels, self._timeout_s, self._clock = channels, timeout_s, clock
        self._connection: http.client.HTTPConnection | None = None
        self._answer: http.client.HTTPResponse | None = None
        self._boundary = b""
        self._jpeg = b""

    def open(self) -> None:
        host = self._parts.hostname or ""
        connection = http.client.HTTPConnection(host, self._parts.port, timeout=self._timeout_s)
        self._connection = connection
        target = self._parts.path or "/"
        if self._parts.query:
            target += f"?{self._parts.query}"
        try:
            connection.request("GET", target, headers=self._authorization())
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        if answer.status != 200 or answer.headers.get_content_maintype() != "multipart":
            found = f"{answer.status} {answer.headers.get('Content-Type', '')}"
            raise CameraLost(
                f"{self._name} answers {found}; expected 200 multipart/x-mixed-replace"
            )
        self._boundary = _delimiter(answer.headers)
        self._answer = answer

    def _authorization(self) -> dict[str, str]:
        if self._parts.username is None:
            return {}
        pair = f"{unquote(self._parts.username)}:{unquote(self._parts.password or '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def grab(self) -> Grab | None:
        assert self._answer is not None
        try:
            self._jpeg = read_part(self._answer, self._boundary)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._lost(error) from error
        return Grab(self._clock.monotonic())

    def retrieve(self) -> Frame:
        return decode_image(self._jpeg, self._channels)

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
        if self._connection is not None:
            self._connection.close()

    def _lost(self, error: Exception) -> CameraLost:
        return CameraLost(f"{self._name}: {error or type(error).__name__}")


def _delimiter(headers: Message) -> bytes:
    # Cameras are seen that put the two dashes into the parameter already.
    return b"--" + str(headers.get_param("boundary", "")).lstrip("-").encode()


def read_part(answer: http.client.HTTPResponse, delimiter: bytes) -> bytes:
    """The body of the next part. Raises ValueError at the end or where it is not multipart."""
    line = answer.readline(_MAX_LINE_BYTES)
    while line and not line.strip():
        line = answer.readline(_MAX_LINE_BYTES)
    if not line:
        raise ValueError("the camera ended the stream")
    if not line.startswith(delimiter):
        raise ValueError(f"expected a line {delimiter[:40]!r}, found {line[:40]!r}")
    length = _content_length(answer)
    if length is None:
        return _until(answer, delimiter)
    body = answer.read(length)
    if len(body) < length:
        raise ValueError("the camera ended the stream within an image")
    return body


def _content_length(answer: http.client.HTTPResponse) -> int | None:
    length = None
    while line := answer.readline(_MAX_LINE_BYTES).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    if length is not None and not 0 <= length <= _MAX_IMAGE_BYTES:
        raise ValueError(f"an image of {length} bytes; at most {_MAX_IMAGE_BYTES} are taken")
    return length


def _until(answer: http.client.HTTPResponse, delimiter: bytes) -> bytes:
    """A body without a length: all up to the next delimiter, which is peeked at and left there."""
    body = bytearray()
    while not answer.peek(len(delimiter)).startswith(delimiter):
        line = answer.readline(_MAX_LINE_BYTES)
        body += line
        if not line or len(body) > _MAX_IMAGE_BYTES:
            raise ValueError("an image without end")
    return bytes(body.rstrip(b"\r\n"))
