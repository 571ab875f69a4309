"""The agent's own log: lines of JSON in its data folder, and words for a service manager's journal."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from fleet_contract.errors import ResourceError

FILE = "agent.log"
_FILE_BYTES, _FILES = 1_000_000, 2
"""A long night's lines, and never more than the disk can bear."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_SYSLOG = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


class _Lines(logging.Formatter):
    """One JSON object a record: time (UTC), level, logger, thread, text; error where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "thread": record.threadName,
            "text": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Journal(logging.Formatter):
    """A priority before each line (sd-daemon(3)); the journal has the time."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", "\n ")
        return f"<{_SYSLOG.get(record.levelname, 6)}>{record.name}: {text}"


class _File(RotatingFileHandler):
    """A disk that takes no more does not end the agent, nor fill its journal with complaints."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """The line is lost here; standard error has it too."""


def set_up(folder: Path, *, verbose: bool) -> None:
    """From now on records go to standard error and to the file in `folder`."""
    journal = "JOURNAL_STREAM" in os.environ
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_Journal() if journal else plain)
    handlers: list[logging.Handler] = [stream]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _File(folder / FILE, maxBytes=_FILE_BYTES, backupCount=_FILES - 1, encoding="utf-8")
        file.setFormatter(_Lines())
        handlers.append(file)
    except OSError as error:
        sys.stderr.write(f"the log file in {folder} cannot be opened: {error}\n")
    logging.basicConfig(level=logging.INFO, handlers=handlers)
    logging.getLogger("edge_agent").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("tuf").setLevel(logging.WARNING)


def last_lines(folder: Path, count: int, level: str) -> list[dict[str, Any]]:
    """The last `count` records of `level` or worse, the oldest first. Raises ResourceError."""
    wanted = LEVELS[LEVELS.index(level) :]
    found = [line for line in _records(folder) if line.get("level") in wanted]
    return found[-count:]


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    paths = [path for path in (folder / f"{FILE}.1", folder / FILE) if path.exists()]
    if not paths:
        raise ResourceError(
            f"{folder} holds no log of an agent", remedy="Did it ever run with this configuration?"
        )
    for path in paths:
        for text in path.read_text("utf-8", errors="replace").splitlines():
            try:
                yield json.loads(text)
            except ValueError:
                continue  # a line that a kill tore in two
