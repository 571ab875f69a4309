"""The documents point at what is there."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.imports import ROOT

LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def tracked(*patterns: str) -> list[Path]:
    """Files that git knows or would add, so that a page is checked before it is committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def anchors(text: str) -> set[str]:
    """What `#...` may follow a page's name: its headings, as the usual renderers name them."""
    headings = re.findall(r"^#+ +(.+?)\s*$", FENCE.sub("", text), re.MULTILINE)
    bare = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in bare}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        lacks = anchor and target.suffix == ".md" and target.is_file()
        if not target.exists() or (lacks and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken


PAGES = tracked("*.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](page.md#one-two) [b](gone.md) [c](#three) [d](https://x.y)\n")
    assert broken_links(page) == ["gone.md", "#three"]


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (page.name, target)
        for page in PAGES
        for target in re.findall(r"`(?:HEADLESS=1 )?make ([a-z-]+)", page.read_text())
    }
    assert {pair for pair in named if pair[1] not in targets} == set()


def test_no_file_goes_past_the_length_that_asks_for_a_new_room() -> None:
    lengths = {path: path.read_text().count("\n") for path in tracked("*.py")}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > 500} == {}
