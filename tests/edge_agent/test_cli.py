"""The command line: one clear message and exit code 2 for what a person can mend."""

from pathlib import Path

from tests.support.scene import Scene


def test_check_names_what_the_station_is(scene: Scene) -> None:
    done = scene.station().call("check")
    assert done.returncode == 0, done.stderr
    assert f"{scene.device} inspects watch-case on x86-64-box (onnx/fp32)" in done.stdout


def test_a_device_that_is_not_its_certificates_is_refused(scene: Scene) -> None:
    station = scene.station()
    config = station.folder / "station.toml"
    config.write_text(config.read_text().replace(f'"{scene.device}"', '"somebody-else"', 1))
    for command in ("check", "run"):
        done = station.call(command)
        assert done.returncode == 2
        assert f"device is not the name in link.cert; expected {scene.device}" in done.stderr


def test_a_key_that_does_not_fit_its_certificate_is_refused(scene: Scene) -> None:
    station = scene.station()
    (station.folder / "device.key").write_bytes(
        Path(scene.broker.credentials("other")[1]).read_bytes()
    )
    for command in ("check", "run"):
        done = station.call(command)
        assert done.returncode == 2
        assert "link.cert, link.key" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_missing_root_is_named(scene: Scene) -> None:
    station = scene.station()
    (station.folder / "image-root.json").unlink()
    done = station.call("run")
    assert done.returncode == 2
    assert "image-root.json" in done.stderr


def test_a_board_with_a_wrong_key_is_named(scene: Scene) -> None:
    station = scene.station()
    board = station.folder / "board.toml"
    board.write_text(board.read_text().replace("threads", "treads"))
    done = station.call("run")
    assert done.returncode == 2
    assert "board.toml" in done.stderr
    assert "treads" in done.stderr or "threads" in done.stderr


def test_status_before_the_first_run_says_so(scene: Scene) -> None:
    done = scene.station().call("status")
    assert done.returncode == 2
    assert "never ran here" in done.stderr


def test_rollback_of_another_line_is_refused(scene: Scene) -> None:
    done = scene.station().call("rollback", "--line", "bottles")
    assert done.returncode == 2
    assert "no line 'bottles'" in done.stderr
