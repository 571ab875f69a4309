"""What a device would send: records, envelopes, windows."""

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np

from fleet_contract.histogram import Histogram
from fleet_contract.messages import (
    Envelope,
    EventBody,
    Gap,
    Message,
    PartsBody,
    PartVerdict,
    Record,
    SampleBody,
    Stream,
)
from fleet_contract.names import Verdict
from fleet_contract.windows import FEATURES, THUMBNAIL_SIDE, Arm, Window

LINE, CAMERA = "watch-case", "cam1"
DIGEST = "a" * 64
FRAMES = 8

LEVELS = {
    "mean": 120.0, "std": 60.0, "p01": 10.0, "p99": 220.0, "clip_low": 0.01, "clip_high": 0.01,
    "entropy": 7.0, "sharpness": 0.09, "noise": 2.5, "edges": 0.3, "rg": 1.0, "bg": 1.0,
    "saturation": 20.0, "shift_x": 0.0, "shift_y": 0.0, "shift_response": 0.4, "score": 0.2,
}  # fmt: skip
"""What is normal on the invented line."""


def record(number: int, body: Message | None = None, *, gap_through: int = 0) -> Record:
    """One record; with `gap_through` a gap up to that number."""
    gap = Gap(records=gap_through - number + 1, reason="spool full") if gap_through else None
    return Record(
        number=number,
        through=gap_through or number,
        boot_id="boot",
        monotonic_s=float(number),
        time_s=1_700_000_000.0 + number,
        clock_synchronised=True,
        body=body.model_dump(mode="json") if body else None,
        gap=gap,
    )


def envelope(
    device: str, stream: Stream, records: Sequence[Record], spool_id: str = "spool-1"
) -> Envelope:
    """Records of one stream."""
    return Envelope(device=device, spool_id=spool_id, stream=stream, records=list(records))


def parts(first: int, last: int, verdict: Verdict = Verdict.ACCEPT) -> PartsBody:
    """Verdicts on the parts first to last."""
    return PartsBody(
        line=LINE,
        camera=CAMERA,
        verdicts=[
            PartVerdict(number=n, verdict=verdict, score=0.1, latency_ms=3.0, time_s=1.7e9 + n)
            for n in range(first, last + 1)
        ],
    )


def event(text: str = "started", kind: str = "started") -> EventBody:
    """An event."""
    return EventBody(kind=kind, text=text)


def window(
    start_s: float = 0.0,
    *,
    levels: dict[str, float] | None = None,
    rng: np.random.Generator | None = None,
    digest: str | None = DIGEST,
    rejects: int = 2,
) -> Window:
    """A window of 8 parts around LEVELS (1 % spread with `rng`); `levels` replaces some of them."""
    wanted = {**LEVELS, **(levels or {})}
    values = {name: _values(wanted[name], rng) for name in (*FEATURES, "score")}
    cells = np.full(THUMBNAIL_SIDE**2, 1000 * FRAMES)
    if rng is not None:
        cells = cells + rng.normal(0, 40, cells.shape).astype(int)
    return Window(
        line=LINE,
        camera=CAMERA,
        digest=digest,
        start_s=start_s,
        end_s=start_s + 2,
        first_part=1,
        last_part=FRAMES,
        sampled_frames=FRAMES,
        features={name: Histogram.of(f"{name}/1", values[name]).to_message() for name in FEATURES},
        thumbnail=[int(cell) for cell in cells],
        score=Histogram.of("score/1", values["score"]).to_message(),
        latency_ms=Histogram.of("latency_ms/1", [3.0] * FRAMES).to_message(),
        arms={digest: Arm(parts=FRAMES, rejects=rejects)} if digest else {},
    )


def _values(level: float, rng: np.random.Generator | None) -> list[float]:
    if rng is None:
        return [level] * FRAMES
    spread = abs(level) * 0.01 or 0.1
    return [float(x) for x in rng.normal(level, spread, FRAMES)]


def sample(
    sample_id: str, data: bytes, *, part: int = 1, blocks: int = 1, why: str = "requested",
    **more: object,
) -> SampleBody:  # fmt: skip
    """The record of a sample whose bytes are `data`."""
    fields = {
        "sample_id": sample_id, "line": LINE, "camera": CAMERA, "part": part, "why": why,
        "verdict": "reject", "score": 0.9, "digest": DIGEST, "blocks": blocks,
        "sha256": hashlib.sha256(data).hexdigest(), "length": len(data), **more,
    }  # fmt: skip
    return SampleBody.model_validate(fields)


def png(seed: int = 0, side: int = 16) -> bytes:
    """A small picture of noise, different for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    done, data = cv2.imencode(".png", pixels)
    assert done
    return bytes(data)
