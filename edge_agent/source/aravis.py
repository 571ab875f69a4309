"""libaravis 0.8 by ctypes: the few calls that a GigE Vision camera takes, typed, errors as CameraLost.

Aravis's own bindings need GObject introspection with its build tools on the device; the C library
alone is one package.
"""

import contextlib
import ctypes as c
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edge_agent.source.base import CameraLost
from fleet_contract.errors import ResourceError

_LIBRARY = "libaravis-0.8.so.0"
_SUCCESS = 0
"""ARV_BUFFER_STATUS_SUCCESS; every other status is a buffer that is not whole."""
_CONTROL_PRIVILEGE = 0x0A00
"""GigE Vision's bootstrap register of who controls the camera; 0: nobody."""


class _GError(c.Structure):
    _fields_ = (("domain", c.c_uint32), ("code", c.c_int), ("message", c.c_char_p))


_P, _S, _I, _D = c.c_void_p, c.c_char_p, c.c_int, c.c_double
_FAILING: dict[str, tuple[Any, list[Any]]] = {
    "arv_camera_new": (_P, [_S]),
    "arv_camera_create_stream": (_P, [_P, _P, _P]),
    "arv_camera_get_payload": (c.c_uint, [_P]),
    "arv_camera_start_acquisition": (None, [_P]),
    "arv_camera_stop_acquisition": (None, [_P]),
    "arv_camera_set_pixel_format_from_string": (None, [_P, _S]),
    "arv_camera_set_region": (None, [_P, _I, _I, _I, _I]),
    "arv_camera_set_frame_rate": (None, [_P, _D]),
    "arv_camera_set_trigger": (None, [_P, _S]),
    "arv_camera_clear_triggers": (None, [_P]),
    "arv_camera_set_string": (None, [_P, _S, _S]),
    "arv_camera_get_string": (_S, [_P, _S]),
    "arv_camera_set_exposure_time": (None, [_P, _D]),
    "arv_camera_get_exposure_time": (_D, [_P]),
    "arv_camera_set_gain": (None, [_P, _D]),
    "arv_camera_get_gain": (_D, [_P]),
    "arv_device_read_register": (_I, [_P, c.c_uint64, c.POINTER(c.c_uint32)]),
}
"""Result and arguments of the functions that take a GError** at their end."""
_PLAIN: dict[str, tuple[Any, list[Any]]] = {
    "arv_camera_get_device": (_P, [_P]),
    "arv_buffer_new_allocate": (_P, [c.c_size_t]),
    "arv_stream_push_buffer": (None, [_P, _P]),
    "arv_stream_timeout_pop_buffer": (_P, [_P, c.c_uint64]),
    "arv_buffer_get_status": (_I, [_P]),
    "arv_buffer_get_frame_id": (c.c_uint64, [_P]),
    "arv_buffer_get_image_data": (_P, [_P, c.POINTER(c.c_size_t)]),
    "arv_buffer_get_image_width": (_I, [_P]),
    "arv_buffer_get_image_height": (_I, [_P]),
    "arv_buffer_get_image_pixel_format": (c.c_uint32, [_P]),
}


class Aravis:
    """The library, loaded. Raises ResourceError where it is not installed."""

    def __init__(self) -> None:
        try:
            self._library = c.CDLL(_LIBRARY)
            self._objects = c.CDLL("libgobject-2.0.so.0")
        except OSError as error:
            raise ResourceError(
                f"{_LIBRARY} cannot be loaded: {error}",
                remedy="GigE Vision needs it: apt-get install libaravis-0.8-0.",
            ) from error
        for name, (result, arguments) in _FAILING.items():
            function = getattr(self._library, name)
            function.restype = result
            function.argtypes = [*arguments, c.POINTER(c.POINTER(_GError))]
        for name, (result, arguments) in _PLAIN.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._objects.g_object_unref.argtypes = [_P]
        self._objects.g_error_free.argtypes = [c.POINTER(_GError)]

    def call(self, name: str, *arguments: object) -> Any:
        """A function that may fail. Raises CameraLost with the library's words."""
        error = c.POINTER(_GError)()
        result = getattr(self._library, name)(*arguments, c.byref(error))
        if error:
            words = (error.contents.message or b"").decode("utf-8", "replace")
            self._objects.g_error_free(error)
            raise CameraLost(words)
        return result

    def plain(self, name: str, *arguments: object) -> Any:
        """A function that does not fail."""
        return getattr(self._library, name)(*arguments)

    def release(self, thing: int) -> None:
        """Gives a camera or a stream back; the stream's threads end with it."""
        self._objects.g_object_unref(thing)


class Buffer:
    """One buffer of a stream, as it came. Valid until it is given back."""

    def __init__(self, aravis: Aravis, handle: int) -> None:
        self._aravis, self.handle = aravis, handle

    @property
    def whole(self) -> bool:
        """Whether every packet of it arrived."""
        return bool(self._aravis.plain("arv_buffer_get_status", self.handle) == _SUCCESS)

    @property
    def frame_id(self) -> int:
        """The camera's number of the frame."""
        return int(self._aravis.plain("arv_buffer_get_frame_id", self.handle))

    @property
    def pixel_format(self) -> int:
        """By the Pixel Format Naming Convention."""
        return int(self._aravis.plain("arv_buffer_get_image_pixel_format", self.handle))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height = self._aravis.plain("arv_buffer_get_image_height", self.handle)
        return int(height), int(self._aravis.plain("arv_buffer_get_image_width", self.handle))

    def bytes(self) -> NDArray[np.uint8]:
        """Its pixels as they lie in the buffer, not copied."""
        length = c.c_size_t()
        address = self._aravis.plain("arv_buffer_get_image_data", self.handle, c.byref(length))
        memory = (c.c_uint8 * length.value).from_address(cast("int", address))
        return np.ctypeslib.as_array(memory)


class Handle:
    """A camera that is controlled, and its stream."""

    def __init__(self, aravis: Aravis, address: str) -> None:
        self._aravis = aravis
        self._camera: int = aravis.call("arv_camera_new", address.encode())
        self._stream: int | None = None

    def do(self, name: str, *arguments: object) -> Any:
        """`arv_camera_{name}`. Raises CameraLost."""
        return self._aravis.call(f"arv_camera_{name}", self._camera, *arguments)

    def start(self, buffers: int) -> None:
        """The camera sends. Raises CameraLost."""
        stream: int = self.do("create_stream", None, None)
        self._stream = stream
        payload = self.do("get_payload")
        for _ in range(buffers):
            self._aravis.plain(
                "arv_stream_push_buffer", stream,
                self._aravis.plain("arv_buffer_new_allocate", payload),
            )  # fmt: skip
        self.do("start_acquisition")

    def pop(self, timeout_s: float) -> Buffer | None:
        """The next buffer, or None where none came."""
        handle = self._aravis.plain(
            "arv_stream_timeout_pop_buffer", self._stream, round(timeout_s * 1e6)
        )
        return Buffer(self._aravis, handle) if handle else None

    def push(self, buffer: Buffer) -> None:
        """Gives a buffer back to the stream."""
        self._aravis.plain("arv_stream_push_buffer", self._stream, buffer.handle)

    def controlled(self) -> bool:
        """Whether the camera still takes this program for its master. Raises CameraLost."""
        value = c.c_uint32()
        device = self._aravis.plain("arv_camera_get_device", self._camera)
        self._aravis.call("arv_device_read_register", device, _CONTROL_PRIVILEGE, c.byref(value))
        return value.value != 0

    def close(self) -> None:
        """Stops the camera and lets go of it."""
        if self._stream is not None:
            with contextlib.suppress(CameraLost):
                self.do("stop_acquisition")
            self._aravis.release(self._stream)
        self._aravis.release(self._camera)
