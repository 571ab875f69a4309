"""Ctrl-C at any moment leaves nothing running, and the next start is clean."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import PROGRAM
from tests.support.wait import eventually

Play = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def play() -> Iterator[Play]:
    """Starts a story; none outlives its test."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> subprocess.Popen[str]:
        started.append(_start(folder))
        return started[-1]

    yield start
    for story in started:
        story.kill()
        story.communicate()


def _start(folder: Path) -> subprocess.Popen[str]:
    command = [
        PROGRAM,
        "demo",
        "--headless",
        "--story",
        "short",
        "--port",
        "0",
        "--dir",
        str(folder),
    ]
    # A session of its own, so that the signal reaches the story alone, as a service manager's does.
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _left(folder: Path) -> list[str]:
    """Command lines of processes that still work in `folder`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "logs/broker.log"),
        (signal.SIGINT, "logs/station-2-agent.log"),
        (signal.SIGKILL, "logs/station-2-agent.log"),
        (signal.SIGKILL, "trainer/line.toml"),
    ],
)
def test_nothing_is_left_running(
    play: Play, tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    story = play(tmp_path)
    eventually(lambda: (tmp_path / moment).exists(), timeout_s=60, what=f"{moment} is there")
    story.send_signal(number)
    output, _ = story.communicate(timeout=60)
    eventually(lambda: _left(tmp_path) == [], timeout_s=20, what="every process is gone")
    if number is signal.SIGINT:
        assert story.returncode == 130, output
        assert "Traceback" not in output


def test_a_start_after_a_kill_is_clean(play: Play, tmp_path: Path) -> None:
    first = play(tmp_path)
    eventually(lambda: (tmp_path / "server/loupe.db").exists(), timeout_s=60, what="a database")
    first.kill()
    first.communicate(timeout=30)
    eventually(lambda: _left(tmp_path) == [], timeout_s=20, what="every process is gone")
    second = play(tmp_path)
    eventually(
        lambda: (tmp_path / "trainer/line.toml").exists(), timeout_s=90, what="training begins"
    )
    second.send_signal(signal.SIGINT)
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 130, output
    assert _left(tmp_path) == []


def test_a_second_story_in_the_same_folder_is_refused(play: Play, tmp_path: Path) -> None:
    first = play(tmp_path)
    eventually(lambda: (tmp_path / "server").exists(), timeout_s=60, what="the story has begun")
    done = subprocess.run(
        [PROGRAM, "demo", "--headless", "--dir", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert done.returncode == 2
    assert "another story runs" in done.stderr


def test_a_folder_with_other_things_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run(
        [PROGRAM, "demo", "--headless", "--dir", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "holds something else" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
