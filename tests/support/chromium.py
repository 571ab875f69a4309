"""The browser of the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

_PROGRAM = Path("/usr/bin/chromium")


@contextmanager
def launched() -> Iterator[Browser]:
    """Debian's Chromium. Fails, and says what to install, where it is not there."""
    assert _PROGRAM.is_file(), (
        f"pages are looked at in Chromium, and {_PROGRAM} is not there; install it with "
        "`sudo apt-get install chromium`"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_PROGRAM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()
