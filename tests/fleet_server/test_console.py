"""The console in a real browser, over the real server."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect

from fleet_server.app import create_app
from fleet_server.audit import service as audit
from fleet_server.drift import baselines
from fleet_server.labels import service as labels
from fleet_server.registry.service import find_device
from fleet_server.releases import service as releases
from fleet_server.rollouts import service as rollouts
from fleet_server.runs import service as runs
from fleet_server.serving import listen
from tests.fleet_server.console_story import Story
from tests.support.wait import eventually

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
WIDTHS = (360, 1920)
DUPLICATES = """() => [...document.querySelectorAll("[id]")].map(element => element.id)
    .filter((id, at, all) => all.indexOf(id) !== at)"""


@dataclass
class Site:
    """A running server, and what happened on it."""

    story: Story
    address: str

    def paths(self) -> dict[str, str]:
        """One address of each page by a name for its picture."""
        with self.story.services.database.read() as session:
            digest = releases.list_releases(session)[1].digest
            run = runs.list_runs(session)[-1]
            rollout = rollouts.list_rollouts(session)[0].id
        return {
            "overview": "/", "station": "/stations/station-2", "drift": "/drift",
            "review": "/review", "runs": "/runs", "run": f"/runs/{run.id}",
            "datasets": "/datasets", "dataset": f"/datasets/{run.dataset}",
            "releases": "/releases", "release": f"/releases/{digest}",
            "rollouts": "/rollouts", "rollout": f"/rollouts/{rollout}", "audit": "/audit",
        }  # fmt: skip


@dataclass
class Watched:
    """A page, and everything that it complained of or asked for."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on(
            "console",
            lambda said: self.complaints.append(f"{said.type}: {said.text} ({said.location})"),
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "request",
            lambda asked: (
                None if asked.url.startswith(self.address) else self.foreign.append(asked.url)
            ),
        )

    def open(self, path: str) -> Page:
        """Opens the page and waits until it is live."""
        self.page.goto(self.address + path)
        expect(self.page.locator("#link-state")).to_have_text("Live")
        return self.page


def _serve(story: Story) -> Iterator[Site]:
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        create_app(story.services), log_level="warning", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    eventually(lambda: server.started, 10, "the server listens")
    yield Site(story, f"http://127.0.0.1:{listener.getsockname()[1]}")
    story.services.bus.close()
    server.should_exit = True
    thread.join(10)
    story.services.database.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with a whole fleet on it."""
    story = Story(tmp_path_factory.mktemp("story"))
    story.everything()
    yield from _serve(story)


@pytest.fixture(scope="module")
def empty_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server on which nothing happened."""
    yield from _serve(Story(tmp_path_factory.mktemp("empty")))


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor without a past."""
    made = browser.new_context(viewport={"width": 1280, "height": 900})
    made.set_default_timeout(10_000)
    yield made
    made.close()


@pytest.fixture
def visit(site: Site, context: BrowserContext) -> Watched:
    """A visitor of the fleet's server."""
    return Watched(context.new_page(), site.address)


def test_every_page_loads_from_this_server_alone_and_fits(site: Site, visit: Watched) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    for name, path in site.paths().items():
        page = visit.open(path)
        assert page.evaluate(DUPLICATES) == [], path
        expect(page.locator("h1")).to_have_count(1)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert over <= 0, f"{path} is {over} pixels too wide at {width}"
            _shoot(page, f"{name}-light-{width}", "light")
            _shoot(page, f"{name}-dark-{width}", "dark")
    assert visit.complaints == []
    assert visit.foreign == []


def _shoot(page: Page, name: str, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    # Hiding the caret would write a style attribute into the page, which the policy refuses.
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True, caret="initial")


def test_an_empty_server_says_what_will_appear(empty_site: Site, context: BrowserContext) -> None:
    visit = Watched(context.new_page(), empty_site.address)
    words = {
        "/": "No station yet", "/drift": "No station has sent a window yet",
        "/review": "Nothing to label", "/datasets": "No line yet", "/runs": "None yet",
        "/releases": "None yet",
        "/rollouts": "None yet", "/audit": "No act yet",
    }  # fmt: skip
    for path, text in words.items():
        expect(visit.open(path).locator("#content")).to_contain_text(text)
    assert visit.complaints == []


def test_inline_script_is_refused_by_the_policy(visit: Watched) -> None:
    page = visit.open("/")
    page.evaluate(
        "() => { const bad = document.createElement('script'); bad.textContent = 'window.ran = 1';"
        " document.body.append(bad); }"
    )
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in said for said in visit.complaints)


def test_an_event_appears_without_a_reload(site: Site, visit: Watched) -> None:
    page = visit.open("/")
    page.evaluate("window.stayed = true")
    site.story.stations[0].event("camera", "the lens was cleaned")
    expect(page.locator("#live")).to_contain_text("the lens was cleaned")
    assert page.evaluate("window.stayed") is True


def test_focus_stays_where_it_was_when_the_page_changes(site: Site, visit: Watched) -> None:
    page = visit.open("/")
    page.evaluate("document.querySelector('a[href=\"/stations/station-2\"]').focus()")
    site.story.stations[0].event("camera", "the cover was closed")
    expect(page.locator("#live")).to_contain_text("the cover was closed")
    assert page.evaluate("document.activeElement.textContent") == "station-2"


CHANGE = "htmx.trigger(document.getElementById('live'), 'sse:change')"


def test_a_press_is_not_lost_when_the_page_changes_under_it(visit: Watched) -> None:
    page = visit.open("/drift")
    page.locator("summary").first.hover()
    page.mouse.down()
    page.evaluate(CHANGE)
    page.mouse.up()
    expect(page.locator("details").first).to_have_attribute("open", "")
    page.evaluate(CHANGE)
    expect(page.locator("details").first).to_have_attribute("open", "")


def test_selected_text_stays_selected_until_it_is_let_go(site: Site, visit: Watched) -> None:
    page = visit.open("/stations/station-1")
    page.evaluate("document.getSelection().selectAllChildren(document.querySelector('h1'))")
    site.story.stations[0].event("camera", "the lamp was changed")
    expect(page.locator("#link-state")).to_have_text("Resting while text is selected")
    page.evaluate("document.getSelection().removeAllRanges()")
    expect(page.locator("#live")).to_contain_text("the lamp was changed")
    expect(page.locator("#link-state")).to_have_text("Live")


def test_keys_label_samples_one_after_the_other(site: Site, visit: Watched) -> None:
    page = visit.open("/review?why=near_threshold")
    expect(page.locator("#review")).to_contain_text("0 of 4 labelled")
    first = page.locator("#picture").get_attribute("src")
    page.keyboard.press("g")
    expect(page.locator("#review")).to_contain_text("1 of 4 labelled")
    assert page.locator("#picture").get_attribute("src") != first
    page.keyboard.press("d")
    expect(page.locator("#review")).to_contain_text("2 of 4 labelled")
    with site.story.services.database.read() as session:
        done = labels.list_samples(session, state="labelled", why="near_threshold")
        acts = [entry.action for entry in audit.entries(session, limit=2)]
    assert [sample.label for sample in done] == ["good", "defect"]
    assert [sample.labelled_by for sample in done] == ["console", "console"]
    assert acts == ["sample.label", "sample.label"]
    assert visit.complaints == []


def test_a_skipped_picture_comes_again_and_a_label_can_be_mended(
    site: Site, visit: Watched
) -> None:
    page = visit.open("/review?why=requested")
    first = page.locator("#picture").get_attribute("src")
    page.keyboard.press("s")
    expect(page.locator("#picture")).not_to_have_attribute("src", first or "")
    second = page.locator("#picture").get_attribute("src")
    page.keyboard.press("g")
    expect(page.locator("#picture")).not_to_have_attribute("src", second or "")
    page.keyboard.press("b")
    expect(page.locator("#picture")).to_have_attribute("src", second or "")
    expect(page.locator("#review")).to_contain_text("good, by console")
    page.keyboard.press("d")
    expect(page.locator("#review")).not_to_contain_text("good, by console")
    with site.story.services.database.read() as session:
        done = labels.list_samples(session, state="labelled", why="requested")
    assert [sample.label for sample in done] == ["defect"]


def test_a_disagreement_shows_what_both_models_said(visit: Watched) -> None:
    said = visit.open("/review?why=disagreement").locator("#review")
    expect(said).to_contain_text("Candidate")
    expect(said).to_contain_text("0.318")
    expect(said).to_contain_text("0.612")


def test_the_heat_map_lies_over_the_picture_when_asked_for(visit: Watched) -> None:
    page = visit.open("/review?why=disagreement")
    heat = page.locator(".picture .heat")
    expect(heat).to_be_hidden()
    page.keyboard.press("h")
    expect(heat).to_be_visible()
    assert heat.bounding_box() == page.locator("#picture").bounding_box()
    assert heat.evaluate("image => image.complete && image.naturalWidth") == 64
    page.keyboard.press("h")
    expect(heat).to_be_hidden()
    assert visit.complaints == []


def test_a_label_needs_no_script(site: Site, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.address}/review?why=disagreement")
    page.get_by_role("button", name="Defect").click()
    expect(page.locator("#review")).to_contain_text("all 1 are done")
    context.close()


def test_a_proposed_baseline_is_accepted_by_its_button(site: Site, visit: Watched) -> None:
    page = visit.open("/stations/station-3")
    page.get_by_role("button", name="Accept baseline").click()
    expect(page.locator("#live")).to_contain_text("by console")
    expect(page.get_by_role("button", name="Accept baseline")).to_have_count(0)
    with site.story.services.database.read() as session:
        found = baselines.list_baselines(session, "station-3")
    assert [(b.state, b.accepted_by) for b in found] == [("accepted", "console")]


def test_charts_are_drawn_with_their_baseline(visit: Watched) -> None:
    page = visit.open("/stations/station-2")
    expect(page.locator(".plot canvas")).to_have_count(6)
    expect(page.locator("#live")).to_contain_text("baseline 11")


def test_a_rollout_is_paused_and_resumed(site: Site, visit: Watched) -> None:
    page = visit.open(site.paths()["rollout"])
    expect(page.locator("#live")).to_contain_text("canary, 5 % of its parts")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_a_release_is_refused_with_a_reason(site: Site, visit: Watched) -> None:
    page = visit.open(site.paths()["release"])
    visit.page.on("dialog", lambda asked: asked.accept())
    page.get_by_label("Or refuse it").click()
    page.keyboard.type("the scratches are missed")
    page.evaluate(CHANGE)
    page.get_by_role("button", name="Refuse").click()
    expect(page.locator("#live")).to_contain_text("the scratches are missed (by console)")
    expect(page.get_by_role("button", name="Refuse")).to_have_count(0)


def test_a_cloned_identity_is_said_and_cleared(site: Site, visit: Watched) -> None:
    with site.story.services.database.write() as session:
        device = find_device(session, "station-1")
        device.clone_since = site.story.now
        session.add(device)
    page = visit.open("/stations/station-1")
    expect(page.get_by_role("alert")).to_contain_text("two agents report under this name")
    page.get_by_role("button", name="One device again").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_refusal_is_a_page_that_says_why(site: Site, visit: Watched) -> None:
    answer = visit.page.goto(f"{site.address}/stations/station-9")
    assert answer is not None
    assert answer.status == 404
    expect(visit.page.locator("main")).to_contain_text("no device is called 'station-9'")


def test_a_wrong_address_is_a_page_too(site: Site, visit: Watched) -> None:
    answer = visit.page.goto(f"{site.address}/rollouts/first")
    assert answer is not None
    assert answer.status == 422
    expect(visit.page.locator("main")).to_contain_text("rollout_id")


def test_a_second_acceptance_is_refused_with_a_way_back(site: Site, visit: Watched) -> None:
    page = visit.open("/drift")
    with site.story.services.database.read() as session:
        accepted = baselines.list_baselines(session, "station-1")[0].id
    page.evaluate(
        "id => { const form = document.createElement('form'); form.method = 'post';"
        " form.action = `/baselines/${id}/accept`; document.body.append(form); form.submit(); }",
        accepted,
    )
    expect(page.locator("main")).to_contain_text("is accepted; expected a proposed one")
    page.get_by_role("link", name="Back").click()
    expect(page).to_have_url(f"{site.address}/drift")


def test_other_sites_cannot_post(site: Site, context: BrowserContext) -> None:
    answer = context.request.post(
        f"{site.address}/rollouts/1/abort", headers={"Origin": "https://elsewhere.example"}
    )
    assert answer.status == 403
