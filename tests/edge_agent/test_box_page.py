"""The status page in a real browser, before a station that inspects."""

from pathlib import Path

from playwright.sync_api import expect

from edge_agent.box.client import ADDRESS
from tests.support.chromium import launched
from tests.support.scene import Scene
from tests.support.wait import eventually

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def test_the_page_shows_the_station_offline_and_fits_every_width(scene: Scene) -> None:
    station = scene.station()
    station.start()
    digest = scene.release()
    scene.server.assign(scene.device, digest)
    scene.reaches(digest, "committed")
    address = f"http://{(station.folder / 'data' / ADDRESS).read_text()}/"
    complaints: list[str] = []
    asked: list[str] = []
    SHOTS.mkdir(parents=True, exist_ok=True)
    with launched() as browser:
        page = browser.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        expect(page.locator("#device")).to_have_text(scene.device)
        expect(page.locator("#verdict")).to_have_text("accept", timeout=20_000)
        expect(page.locator("#frame")).to_be_visible()
        expect(page.locator("#state")).to_contain_text(digest[:12])
        expect(page.locator("#parts img").first).to_be_visible()
        for width in (360, 1600):
            page.set_viewport_size({"width": width, "height": 900})
            over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert over <= 0, f"{over} pixels too wide at {width}"
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                path = SHOTS / f"box-{scheme}-{width}.png"
                page.screenshot(path=path, full_page=True, animations="disabled")
        page.locator("#heat").uncheck()
        eventually(
            lambda: any(url.endswith(".jpg") and "/parts/" in url and "-heat" not in url for url in asked),
            10, "pictures without their heat map",
        )  # fmt: skip
        assert [text for text in complaints if "404" not in text] == []
        assert [url for url in asked if not url.startswith(address)] == []
        station.kill()
        expect(page.locator("#alarm")).to_have_text("The agent does not answer.", timeout=15_000)
