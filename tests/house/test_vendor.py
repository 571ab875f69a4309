"""The console's scripts come by lock file, and nothing is loaded from elsewhere."""

import json
import re

from tests.support.imports import ROOT

CONSOLE = ROOT / "fleet_server" / "console"
VENDOR = CONSOLE / "static" / "vendor"


def test_the_lock_file_names_digests_and_no_addresses() -> None:
    packages = json.loads((CONSOLE / "package-lock.json").read_text())["packages"]
    fetched = {name: package for name, package in packages.items() if name}
    assert len(fetched) == 3
    assert all(package["integrity"].startswith("sha512-") for package in fetched.values())
    assert not any("resolved" in package for package in fetched.values())


def test_every_script_that_a_page_loads_is_there() -> None:
    pages = [*CONSOLE.rglob("*.html"), *CONSOLE.rglob("*.jinja")]
    wanted = {
        name for page in pages for name in re.findall(r"/static/vendor/([\w.-]+)", page.read_text())
    }
    assert wanted
    assert {name for name in wanted if not (VENDOR / name).is_file()} == set()


def test_the_licences_come_with_the_scripts() -> None:
    assert len(list(VENDOR.glob("*.LICENSE"))) == 3


def test_no_page_loads_anything_from_elsewhere() -> None:
    outside = re.compile(r"""(src|href)\s*=\s*["'](https?:)?//|@import|url\(\s*["']?https?:""")
    files = [
        path
        for path in CONSOLE.rglob("*")
        if path.suffix in {".html", ".jinja", ".css", ".js"} and VENDOR not in path.parents
    ]
    assert files
    assert [str(path) for path in files if outside.search(path.read_text())] == []
