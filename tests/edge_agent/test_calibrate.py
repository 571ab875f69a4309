"""Calibration: what a board's picture says of a pixel's size, and boards that say nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from edge_agent.box import probes
from edge_agent.box.doctor import CHECKS, examine
from edge_agent.calibrate import calibrate
from edge_agent.cli import app
from edge_agent.config import load_config
from fleet_contract.errors import DataError
from fleet_contract.inference.preprocess import encode_png
from fleet_contract.manifest import Acceptance, Decision, Limit
from tests.support.broker import TestBroker
from tests.support.scene import Scene
from tests.support.tiny_bundle import solid

SIZE = (900, 1200)
PITCH_PX = 40
SCALE = 5.0 / PITCH_PX
"""With a pitch of 5 mm."""


def flat_chessboard(columns: int, rows: int) -> NDArray[np.uint8]:
    """With that many inner corners."""
    squares = np.indices((rows + 1, columns + 1)).sum(axis=0) % 2
    image = np.kron(np.where(squares, 20, 230), np.ones((PITCH_PX, PITCH_PX))).astype(np.uint8)
    return np.pad(image, PITCH_PX, constant_values=230)


def flat_dots(columns: int, rows: int) -> NDArray[np.uint8]:
    image = np.full(((rows + 1) * PITCH_PX, (columns + 1) * PITCH_PX), 230, np.uint8)
    for row in range(rows):
        for column in range(columns):
            centre = ((column + 1) * PITCH_PX, (row + 1) * PITCH_PX)
            cv2.circle(image, centre, PITCH_PX // 4, 20, -1, cv2.LINE_AA)
    return image


def photo(
    folder: Path, flat: NDArray[np.uint8], *, turned: float = 0.0, tilted: float = 0.0,
    near: float = 0.0,
) -> Path:  # fmt: skip
    """Turned and tilted by degrees; `near`: how much larger one edge is than the other."""
    height, width = flat.shape
    turn = np.vstack([cv2.getRotationMatrix2D((width / 2, height / 2), turned, 1.0), [0, 0, 1]])
    lean = np.array(
        [[np.cos(np.radians(tilted)), 0, 0], [0, 1, 0], [-near / width, 0, 1 + near / 2]]
    )
    place = np.array([[1, 0, (SIZE[1] - width) / 2], [0, 1, (SIZE[0] - height) / 2], [0, 0, 1]])
    image = cv2.warpPerspective(flat, place @ turn @ lean, SIZE[::-1], borderValue=(230,))
    noise = np.random.default_rng(1).normal(0, 3, SIZE)
    noisy = np.clip(cv2.GaussianBlur(image, (3, 3), 0) + noise, 0, 255).astype(np.uint8)
    path = folder / "board.png"
    cv2.imwrite(str(path), noisy)
    return path


@pytest.mark.parametrize("turned", [0.0, 7.0, 90.0])
def test_the_scale_of_a_chessboard_is_found_however_it_lies(tmp_path: Path, turned: float) -> None:
    found = calibrate(photo(tmp_path, flat_chessboard(9, 6), turned=turned), 5.0)
    assert found.mm_per_pixel == pytest.approx(SCALE, rel=1e-3)
    # The outer corners of the rim's squares may be found as well: they lie on the same grid.
    assert (9, 6) <= (max(found.columns, found.rows), min(found.columns, found.rows)) <= (11, 8)
    assert max(found.stretch, found.spread) < 2e-3
    assert found.residual_px < 0.2
    assert 0.05 < found.covers < 0.15


def test_dots_are_a_board_too(tmp_path: Path) -> None:
    found = calibrate(photo(tmp_path, flat_dots(11, 7), turned=5.0), 5.0, (11, 7))
    assert found.mm_per_pixel == pytest.approx(SCALE, rel=1e-3)


@pytest.mark.parametrize(("tilted", "near"), [(15.0, 0.0), (0.0, 0.1)])
def test_a_board_that_is_tilted_is_refused(tmp_path: Path, tilted: float, near: float) -> None:
    path = photo(tmp_path, flat_chessboard(9, 6), turned=20.0, tilted=tilted, near=near)
    with pytest.raises(DataError, match=r"tilted .* Lay it flat"):
        calibrate(path, 5.0)


def test_a_board_that_is_bent_is_refused(tmp_path: Path) -> None:
    flat = flat_chessboard(9, 6)
    rows, columns = np.indices(flat.shape).astype(np.float32)
    wave = np.asarray(rows + 5 * np.sin(columns / 70), np.float32)
    bent = cv2.remap(flat, np.asarray(columns, np.float32), wave, cv2.INTER_LINEAR)
    with pytest.raises(DataError, match="plane grid"):
        calibrate(photo(tmp_path, np.asarray(bent, np.uint8)), 5.0)


def test_a_picture_without_a_board_says_what_is_needed(tmp_path: Path) -> None:
    blank = photo(tmp_path, np.full((90, 90), 230, np.uint8))
    for dots in (None, (4, 3)):
        with pytest.raises(DataError, match="no board is found"):
            calibrate(blank, 5.0, dots)
    with pytest.raises(DataError, match=r"none\.png cannot be read"):
        calibrate(tmp_path / "none.png", 5.0)


def test_the_command_prints_the_line_to_paste(tmp_path: Path) -> None:
    words = ["calibrate", str(photo(tmp_path, flat_dots(11, 7))), "--pitch", "5", "--dots", "11x7"]
    text = CliRunner().invoke(app, words).stdout
    line = next(one for one in text.splitlines() if one.startswith("mm_per_pixel = "))
    assert float(line.partition("=")[2]) == pytest.approx(SCALE, rel=1e-3)
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout.splitlines()[-1])
    assert found["mm_per_pixel"] == pytest.approx(SCALE, rel=1e-3)
    assert found["columns"] == 11


def test_a_grid_that_is_no_grid_is_a_mistake_of_the_command() -> None:
    for dots in ("11", "2x9", "axb"):
        done = CliRunner().invoke(app, ["calibrate", "x.png", "--pitch", "5", "--dots", dots])
        assert "columns and rows" in str(done.exception)


# A station and a bundle with limits in mm


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, broker: TestBroker) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("calibration"), broker)
    yield made
    made.close()


def limits(scale: float | None) -> Decision:
    """One defect of up to 1 mm; the tiny model heats the whole picture of a red part."""
    rules = Acceptance(mm_per_pixel=scale, limits=[Limit(max_length_mm=1.0)])
    return Decision(threshold=0.5, near_margin=0.05, acceptance=rules)


def test_a_bundle_that_limits_sizes_without_a_scale_is_refused_until_the_station_knows_it(
    world: Scene,
) -> None:
    station = world.station(probation=1)
    digest = world.release(decision=limits(None))
    station.start()
    world.server.assign(world.device, digest)
    world.reaches(digest, "failed")
    (reason,) = [
        event.data["reason"] for event in world.server.events(world.device, "update")
        if event.data["state"] == "failed"
    ]  # fmt: skip
    assert "expected mm_per_pixel of cam-1" in reason
    assert "loupe-agent calibrate" in reason
    assert station.stop() == 0

    kind = 'kind = "line_camera"'
    text = station.config.read_text()
    station.config.write_text(text.replace(kind, f"{kind}\nmm_per_pixel = 0.01", 1))
    station.start()
    world.server.assign(world.device, digest, attempt=2)
    world.becomes_active(digest)
    assert world.line().mm_per_pixel == {"cam-1": 0.01}
    found = next(one for one in examine(station.config) if one.check == "calibration")
    assert (found.grade, found.text) == ("ok", "cam-1: 0.01 mm a pixel")
    # The camera's parts are 64 pixels wide: what is hot all over is 0.64 mm, and accepted.
    (station.folder / "red").mkdir()
    (station.folder / "red" / "1.png").write_bytes(encode_png(solid(230, side=64)))
    words = ["replay", str(station.folder / "red"), "--json", "--config", str(station.config)]
    replayed = json.loads(CliRunner().invoke(app, words).stdout.splitlines()[-1])
    assert replayed["counts"] == {"accept": 1, "reject": 0, "no_decision": 0}
    assert station.stop() == 0
    # The bundle has no limits for a view of that name.
    station.config.write_text(
        f'{station.config.read_text()}\n[part]\nrecipes = {{ cam-1 = "side" }}'
    )
    found = next(one for one in examine(station.config) if one.check == "model")
    assert (found.grade, "named here: side" in found.text) == ("fault", True)


@pytest.mark.parametrize(
    ("sizes", "grade"),
    [((False, True), "ok"), ((True, True), "warning"), ((True, False), "fault")],
)
def test_the_doctor_says_whose_scale_holds(
    world: Scene, monkeypatch: pytest.MonkeyPatch, sizes: tuple[bool, bool], grade: str
) -> None:
    monkeypatch.setattr(probes, "sizes", lambda _station: sizes)
    station = world.station("station-2")
    assert CHECKS["calibration"](load_config(station.config)).grade == grade
