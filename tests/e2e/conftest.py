"""One short story for all tests that look at it: it is real, and so takes minutes.

It mostly waits for its lines, so it is started with the first test of this folder, goes on beside the
tests that follow, and is looked at last.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hil.story.processes import die_with_parent

PROGRAM = str(Path(sys.executable).parent / "loupe-hil")
PATIENCE_S = 480.0


@dataclass(frozen=True)
class Story:
    """A story that was played to its end."""

    folder: Path
    output: str
    status: int

    @property
    def report(self) -> dict[str, Any]:
        """What it wrote."""
        content: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return content


@dataclass(frozen=True)
class Playing:
    """A story that was started."""

    folder: Path
    output: Path
    process: subprocess.Popen[bytes]

    def ended(self) -> Story:
        """Waits for its end."""
        status = self.process.wait(PATIENCE_S)
        return Story(self.folder, self.output.read_text(), status)


def _is_of_the_story(item: pytest.Item) -> bool:
    return "story" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at the story comes after everything else."""
    items.sort(key=_is_of_the_story)


@pytest.fixture(scope="session", autouse=True)
def playing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Playing | None]:
    """`loupe-hil demo --headless --story short`, started once; None where no test looks at it."""
    if not any(map(_is_of_the_story, request.session.items)):
        yield None
        return
    folder = tmp_path_factory.mktemp("story")
    output = tmp_path_factory.mktemp("told") / "story.txt"
    words = ["demo", "--headless", "--story", "short", "--port", "0", "--dir", str(folder)]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [PROGRAM, *words], stdout=file, stderr=subprocess.STDOUT, preexec_fn=die_with_parent()
        )
    yield Playing(folder, output, process)
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def story(playing: Playing | None) -> Story:
    """The story, played to its end."""
    assert playing is not None
    return playing.ended()
