"""Facts about the set-up: what it says when something stands in the way, and when it is done."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.imports import ROOT
from tools import setup


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the files that the set-up reads, and nothing installed."""
    for name in [*setup.PINS, setup.LOCK]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.setattr(setup, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(setup, "OLD_VENV", tmp_path / ".venv-tflite")
    return tmp_path


def finished(checkout: Path, kind: str) -> None:
    vendor = checkout / "fleet_server/console/static/vendor"
    vendor.mkdir(parents=True)
    (vendor / "lock.sha256").touch()
    setup.VENV.mkdir()
    setup.OLD_VENV.mkdir()
    setup.stamp(kind).write_text(setup.fingerprint())


def test_an_old_python_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.setup.sys.version_info", (3, 9, 2))
    with pytest.raises(setup.SetupError, match=r"3\.11 or newer, found 3\.9.*PYTHON="):
        setup.check_python()


def test_without_apt_get_each_missing_program_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tools.setup.shutil.which", lambda *_, **__: None)
    with pytest.raises(setup.SetupError, match="mosquitto: the MQTT broker") as failed:
        setup.install_system_packages("demo")
    assert "chromium" not in str(failed.value)


def test_system_packages_without_root_and_sudo_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.setup.os.geteuid", lambda: 1000)
    monkeypatch.setattr("tools.setup.shutil.which", lambda *_, **__: None)
    with pytest.raises(setup.SetupError, match="no sudo"):
        setup.apt_install(["mosquitto"])


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("Temporary failure in name resolution", "network could not be reached"),
        ("npm error code ENOTFOUND", "network could not be reached"),
        ("ERROR: something else", "run it again"),
    ],
)
def test_a_known_failure_comes_with_advice(output: str, advice: str) -> None:
    assert advice in setup.hint(output)


def test_too_small_a_disk_is_said_before_anything_is_fetched(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.setup.shutil.disk_usage", lambda _: SimpleNamespace(free=10**9))
    with pytest.raises(setup.SetupError, match=rf"GB free on the disk of {checkout}, found 1\.0"):
        setup.check_disk()


def test_a_finished_set_up_is_known(checkout: Path) -> None:
    assert not setup.is_done("demo")
    finished(checkout, "demo")
    assert setup.is_done("demo")
    assert not setup.is_done("dev")


def test_a_set_up_for_development_serves_the_demonstration(checkout: Path) -> None:
    finished(checkout, "dev")
    assert setup.is_done("demo")


def test_a_missing_environment_for_old_images_asks_for_setting_up_again(checkout: Path) -> None:
    finished(checkout, "dev")
    setup.OLD_VENV.rmdir()
    assert setup.is_done("dev") is not bool(setup.old_python())
    assert setup.is_done("demo")


@pytest.mark.parametrize("name", [*setup.PINS, setup.LOCK])
def test_a_changed_pin_asks_for_setting_up_again(checkout: Path, name: str) -> None:
    finished(checkout, "dev")
    with (checkout / name).open("a") as file:
        file.write("\n# changed\n")
    assert not setup.is_done("dev")


def test_a_failed_command_gives_its_last_words() -> None:
    shout = "import sys; print('why'); sys.exit(3)"
    assert setup.run_quietly([sys.executable, "-c", shout]) == "why"
    assert setup.run_quietly([sys.executable, "-c", "print('fine')"]) == ""


def test_an_unknown_kind_is_refused() -> None:
    command = [sys.executable, "tools/setup.py", "everything"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "expected demo or dev" in done.stdout) == (2, True)


def test_the_list_of_targets_is_what_make_does_first() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line.split()[1] for line in done.stdout.splitlines()] == [
        "help", "setup", "demo", "test", "check", "bench", "clean",
    ]  # fmt: skip


def test_a_library_is_looked_for_by_loading_it() -> None:
    assert setup.is_there("libc.so.6")
    assert not setup.is_there("libnothing.so.9")
    assert setup.is_there("sh")
