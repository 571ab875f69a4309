"""The story's own parts: its processes, its folder, its flag, and what it calls a fact."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fleet_contract.errors import ConfigError, ResourceError
from hil.story import interrupt
from hil.story.api import StoryError, until
from hil.story.attack import flip_byte
from hil.story.facts import check_facts
from hil.story.processes import Child, Supervisor
from hil.story.settings import PRESETS, preset
from hil.story.world import free_port, lock_folder
from tests.support.wait import eventually

LATE = """
import os
from hil.story.processes import die_with_parent
ask, parent = die_with_parent(), os.getpid()
if os.fork() == 0:
    while os.getppid() == parent:
        os.sched_yield()
    ask()
    print("still here")
"""
"""A child that comes to ask only after its parent has gone."""
FOREVER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "logs")
    yield made
    made.stop_all()


def _pid(child: Child) -> int:
    assert child.process is not None
    return child.process.pid


def test_a_service_that_dies_is_started_again_and_its_exit_is_kept(supervisor: Supervisor) -> None:
    child = supervisor.start("agent", FOREVER, restart=True)
    first = _pid(child)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: _pid(child) != first, timeout_s=10, what="another process")
    assert child.exits == [-signal.SIGKILL]


def test_a_service_that_is_not_restarted_is_reported(supervisor: Supervisor) -> None:
    child = supervisor.start("server", [sys.executable, "-c", "raise SystemExit(3)"])
    eventually(lambda: supervisor.ended() == [child], timeout_s=10, what="the end is seen")


def test_a_task_may_end(supervisor: Supervisor) -> None:
    task = supervisor.start("task", [sys.executable, "-c", "print('done')"], once=True)
    eventually(lambda: task.process and task.process.poll() == 0, timeout_s=10, what="its end")
    assert supervisor.ended() == []
    assert task.log.read_text() == "done\n"


def test_ending_all_leaves_no_process(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    pids = [_pid(supervisor.start(f"child-{n}", FOREVER, restart=True)) for n in range(3)]
    supervisor.stop_all()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_child_whose_parent_was_gone_before_it_asked_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout + done.stderr == ""


def test_a_program_that_is_not_there_is_a_clear_error(supervisor: Supervisor) -> None:
    with pytest.raises(ResourceError, match="cannot be started"):
        supervisor.start("nothing", ["/nowhere/program"])


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port {port} on 127.0.0.1 is in use"):
            free_port(port)


def test_a_folder_is_emptied_only_where_a_story_was_played(tmp_path: Path) -> None:
    os.close(lock_folder(tmp_path / "story"))
    (tmp_path / "story" / "left").write_text("over")
    os.close(lock_folder(tmp_path / "story"))
    assert not (tmp_path / "story" / "left").exists()
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ResourceError, match="something else"):
        lock_folder(tmp_path)


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(StoryError, match="the moon"):
        until("the moon", lambda: None, patience_s=0)


def test_a_signal_is_raised_only_where_the_story_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(interrupt, "_told", False)
    try:
        interrupt.listen()
        interrupt.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_one_bit_is_flipped_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(bytes(range(100)))
    position = flip_byte(path)
    changed = [n for n, byte in enumerate(path.read_bytes()) if byte != n]
    assert changed == [position]


def test_an_unknown_story_is_refused_with_those_that_there_are() -> None:
    assert preset("demo") is PRESETS["demo"]
    with pytest.raises(ConfigError, match="demo or short"):
        preset("long")


def test_nothing_stored_shows_no_fact_of_the_loop() -> None:
    empty = {
        "parts": {"lost": 3, "stations": {"a": {"verdicts": 0, "counted_twice": 0}}},
        "drift": {"station": None, "cause": None, "false_alarms": 1},
        "agents": {"a": {"unacknowledged": 4, "slots": {}}},
        "bundles": [{"runtimes": [], "precision": [], "signatures": 0, "state": "built"}],
        "push": {"bytes": 0, "devices": []},
        "runs": [],
        "rollouts": [],
        "refused": [],
    }
    observed = [fact.text for fact in check_facts(empty) if fact.observed]
    # True of nothing as well; that every station inspected is a fact of its own.
    assert observed == ["no part was counted twice"]
