"""The defect map goes with the image: small, in the frame's shape, and a small defect stays one."""

import base64
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.batch import Batch, BatchStore, Picture
from edge_agent.db import Database
from edge_agent.heat import SIDE, heat_map
from edge_agent.source.base import Progress
from edge_agent.spool import Spool, Stamp
from fleet_contract.clock import ManualClock
from fleet_contract.messages import PartVerdict, SampleBody, Stream
from fleet_contract.names import Verdict
from tests.support.tiny_bundle import solid


def decoded(text: str) -> NDArray[np.uint8]:
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def test_a_map_has_the_shape_of_the_frame_and_keeps_a_single_hot_cell() -> None:
    logits = np.full((256, 256), -9.0, np.float32)
    logits[200, 40] = 9.0
    grey = decoded(heat_map(logits, (1080, 1920)))
    assert grey.shape == (72, SIDE)
    assert grey.max() > 200
    y, x = np.unravel_index(int(grey.argmax()), grey.shape)
    assert abs(y / 72 - 200 / 256) < 0.03
    assert abs(x / SIDE - 40 / 256) < 0.03
    assert np.median(grey) == 0


def test_the_worst_map_fits_its_field() -> None:
    logits = np.random.default_rng(1).normal(0, 5, (512, 512)).astype(np.float32)
    limit = SampleBody.model_json_schema()["properties"]["heat_map"]["maxLength"]
    assert len(heat_map(logits, (2000, 2000))) < limit


def test_a_small_frame_is_not_made_larger() -> None:
    assert decoded(heat_map(np.zeros((8, 8), np.float32), (32, 20))).shape == (32, 20)


def test_a_stored_sample_carries_the_map_of_its_judgement(tmp_path: Path) -> None:
    db, clock = Database(tmp_path / "agent.db"), ManualClock()
    spool = Spool(db, 10**8, lambda: Stamp("boot", 0.0, 0.0, True))
    verdict = PartVerdict(number=1, verdict=Verdict.REJECT, latency_ms=1, time_s=clock.time())
    heat = np.full((4, 4), 9.0, np.float32)
    pictures = [Picture("reject", solid(200), "cam-1", verdict, heat=heat),
                Picture("reject", solid(200), "cam-1", verdict)]  # fmt: skip
    store = BatchStore(db, spool, line="line", camera="cam-1")
    store.store(Batch([verdict], [], pictures, 0, Progress()))
    bodies = [entry.record.body for entry in spool.pending(Stream.SAMPLES, 0, 9, 10**6)]
    maps = [SampleBody.model_validate(body).heat_map for body in bodies]
    assert decoded(maps[0]).min() > 250
    assert maps[1] == ""
    db.close()
