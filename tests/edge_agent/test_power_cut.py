"""The power goes at any instant: what was promised is on the disk, and the agent goes on from there."""

import random
from pathlib import Path

import pytest

from tests.support.power_cut import Disk, operations
from tests.support.scene import Scene
from tests.support.sudden_death import Suffering

SEEDS = range(40)


def hexed(text: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


class Written:
    """What is left in a folder by cuts after some calls, over many seeds."""

    def __init__(self, folder: Path) -> None:
        self.root, self._folder = folder / "data", folder
        (folder / "baseline").mkdir()
        self._lines: list[str] = []

    def call(self, text: str, result: int = 0) -> None:
        self._lines.append(f"7 1700000000.5 {text} = {result}")

    def path(self, name: str) -> str:
        return hexed(str(self.root / name))

    def outcomes(self, name: str) -> set[bytes | None]:
        """Contents of a file after cuts; None where it is not there."""
        found: set[bytes | None] = set()
        for seed in SEEDS:
            disk = Disk(self.root, self._folder / "baseline")
            for operation in operations(self._lines):
                disk.do(operation)
            left = self._folder / f"left-{seed}-{len(self._lines)}"
            disk.write_out(left, random.Random(seed))
            found.add((left / name).read_bytes() if (left / name).exists() else None)
        return found


@pytest.fixture
def disk(tmp_path: Path) -> Written:
    made = Written(tmp_path)
    made.call(f"openat(AT_FDCWD, {made.path('new')}, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666)", 5)
    made.call(f"write(5, {hexed('content')}, 7)", 7)
    return made


def test_what_was_never_synced_may_be_there_or_not(disk: Written) -> None:
    assert disk.outcomes("new") >= {None, b"", b"content"}


def test_a_synced_file_whose_name_is_not_may_be_gone_but_is_not_empty(disk: Written) -> None:
    disk.call("fsync(5)")
    assert disk.outcomes("new") == {None, b"content"}


def test_a_synced_file_in_a_synced_folder_is_there(disk: Written) -> None:
    disk.call("fsync(5)")
    disk.call(f"openat(AT_FDCWD, {hexed(str(disk.root))}, O_RDONLY|O_CLOEXEC)", 6)
    disk.call("fsync(6)")
    assert disk.outcomes("new") == {b"content"}


def test_a_call_that_another_thread_interrupted_counts_when_it_is_done() -> None:
    lines = [
        "7 1700000000.5 fsync(5 <unfinished ...>",
        "8 1700000000.6 close(9) = 0",
        "7 1700000000.7 <... fsync resumed>) = 0",
        "8 1700000000.8 close(9) = -1 EBADF (Bad file descriptor)",
    ]
    assert [(one.call, one.arguments) for one in operations(lines)] == [
        ("close", ("9",)), ("fsync", ("5",)),
    ]  # fmt: skip


def test_after_a_power_cut_the_agent_goes_on_from_what_it_had_promised(scene: Scene) -> None:
    chance = random.Random(6)
    suffering = Suffering(scene, chance)
    suffering.begin()
    points = suffering.record()
    cuts = [points[int((n + chance.random()) * len(points) / 3)] for n in range(3)]
    found = [suffering.cut(count) for count in cuts]
    assert [one for one in found if not (one.verified and one.ended)] == []
    assert sum(one.lost for one in found) == 0
