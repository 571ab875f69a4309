"""Model files that really end the process which loads them.

ONNX: the smallest negative int32 modulo -1: the quotient does not fit, and the processor answers the
division with an exception (SIGFPE on x86). onnxruntime checks for a divisor of zero, not for this one.
Both are constants: it happens while the graph is folded, at load. Written as protobuf by hand (onnx.proto3): rigs carry no ONNX tools.

LiteRT: three subgraphs whose IF operators call each other in a circle. The interpreter refuses a graph
that calls itself, but follows a circle of two until its stack ends (SIGSEGV), when it prepares tensors.
"""

import base64
import struct
import zlib
from collections.abc import Iterable

_FLOAT, _INT32 = 1, 6
_IR_VERSION, _OPSET = 8, 17
_LOWEST = -(2**31)


_CIRCLE = (
    "eNqVkj1uAjEQhZ8BIUtYQLFCFBQUEUqJRBshKiqEUlCkoEukpEiRagX3yjE4AgVnQGlZ88Y7G8xviHef98czb+bzrgUw"
    "G08G2533Ce+fqBGVlAGeKFEPlIOMKiwqnMEZMKpKOA5D8lZc2GjcNMu929Sz1KNeNPf91wMYMq6ZW8yL+D7fmahWSWW0"
    "ljl5ltoT7Vk81+Sy2r/ELCOvR62nudUi5jWK6WTH+Ytorefv42r5cy7LdzHLf7m+s+tc8H9z/dzgAursMUGTq/K96/I/"
    "aN8f1Cf1dcKZaJ5cJa+meW3l7nDqCrd62ojvXv43+R8Kfn+d34XeG6GOC/3c3gsXekJwdqHHy/ti1MsFvkN8mnune4Zp"
    "Q14="
)
"""A flatbuffer (schema version 3), packed by zlib: main -> IF(1, 2), 1 -> IF(2, 2), 2 -> IF(1, 1)."""


def crashing_models() -> dict[str, bytes]:
    """A fatal model by runtime, in place of a bundle's own."""
    return {"onnx": crashing_onnx(), "litert": crashing_litert()}


def crashing_litert() -> bytes:
    """A LiteRT model; preparing it for its first run is fatal."""
    return zlib.decompress(base64.b64decode(_CIRCLE))


def crashing_onnx() -> bytes:
    """An ONNX model with the outputs of a bundle's model; loading it is fatal on x86.

    Its input is not used, so that it goes with every manifest.
    """
    graph = [
        *(_field(1, node) for node in _nodes()),
        _text(2, "crash"),
        _field(5, _scalar("smallest", _LOWEST)),
        _field(5, _scalar("minus_one", -1)),
        _field(11, _value("image", _FLOAT)),
        _field(12, _value("score", _FLOAT)),
        _field(12, _value("mask", _FLOAT)),
    ]
    opset = _text(1, "") + _number(2, _OPSET)
    return _number(1, _IR_VERSION) + _field(7, b"".join(graph)) + _field(8, opset)


def _nodes() -> list[bytes]:
    return [
        _node("Mod", ["smallest", "minus_one"], "rest"),
        _node("Cast", ["rest"], "mask", _int_attribute("to", _FLOAT)),
        _node("ReduceMean", ["mask"], "score"),
    ]


def _node(kind: str, inputs: Iterable[str], output: str, attribute: bytes = b"") -> bytes:
    names = b"".join(_text(1, name) for name in inputs)
    extra = _field(5, attribute) if attribute else b""
    return names + _text(2, output) + _text(4, kind) + extra


def _int_attribute(name: str, value: int) -> bytes:
    return _text(1, name) + _number(3, value) + _number(20, 2)


def _scalar(name: str, value: int) -> bytes:
    data = struct.pack("<i", value)
    return _number(1, 1) + _number(2, _INT32) + _text(8, name) + _field(9, data)


def _value(name: str, kind: int) -> bytes:
    return _text(1, name) + _field(2, _field(1, _number(1, kind)))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
