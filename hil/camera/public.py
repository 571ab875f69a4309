"""The public port: what an agent may see. Nothing here knows the truth about a part."""

from dataclasses import asdict
from typing import Final

from fleet_contract.errors import ConfigError
from hil.camera.ports import CameraHandler, integer

LONG_POLL_S: Final = 2.0
# What a camera knows about itself. Lamp, lens, dirt and position are the world's, not its own.
OWN_CONTROLS: Final = ("exposure_us", "gain_db")


class PublicHandler(CameraHandler):
    """GET /frame and GET /info."""

    def do_GET(self) -> None:  # noqa: N802
        """Route one request."""
        path, query = self.split()
        try:
            if path == "/frame":
                self._frame(query)
            elif path == "/info":
                self.answer_json(200, self._info())
            else:
                self.answer_json(404, {"error": "here are /frame?after=N and /info"})
        except ConfigError as error:
            self.answer_json(422, {"error": str(error)})

    def _frame(self, query: dict[str, str]) -> None:
        latest = query.get("after", "latest") == "latest"
        after = -1 if latest else integer(query, "after")
        frame, (oldest, newest) = self.camera.frames.next_after(after, LONG_POLL_S)
        headers = {
            "X-Camera": self.camera.spec.camera,
            "X-Oldest": str(oldest),
            "X-Newest": str(newest),
        }
        if frame is None:
            self.answer(204, b"", "", headers)
            return
        headers |= {
            "X-Trigger": str(frame.trigger),
            "X-Captured-Monotonic-Ns": str(frame.captured_monotonic_ns),
            "X-Part-Id": f"part-{frame.trigger:08d}",
        }
        self.answer(200, frame.png, "image/png", headers)

    def _info(self) -> dict[str, object]:
        spec = self.camera.spec
        oldest, newest = self.camera.frames.span()
        settings = asdict(self.camera.settings())
        return {
            "camera": spec.camera,
            "width": spec.size,
            "height": spec.size,
            "channels": 3,
            "rate_hz": spec.rate_hz,
            "oldest": oldest,
            "newest": newest,
            "controls": {name: settings[name] for name in OWN_CONTROLS},
        }
