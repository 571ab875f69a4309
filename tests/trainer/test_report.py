"""The report: right in what it says, whole in itself, and readable in a real browser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from typer.testing import CliRunner

from fleet_contract import archive
from fleet_contract.manifest import Manifest
from tests.support.tiny_bundle import TinySpec, tiny_bundle
from tests.trainer.pictures import write_holdout
from trainer import evaluation, gates
from trainer.cli import app
from trainer.config import GatesTable
from trainer.report import ReportData, gallery, html_report, model_card, words
from trainer.report.gallery import choose
from trainer.report.plots import thinned
from trainer.samples import csv_samples

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
PROMISE = {"overkill_at_most": 0.1, "good_parts": 30.0, "method": "conformal quantile"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """Of the tiny bundle on 12 good parts, 8 defects that are found and 4 that are missed."""
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    manifest = promising(archive.unpack(tiny_bundle(TinySpec(gain=6.0))[1], folder))
    path = write_holdout(tmp_path_factory.mktemp("holdout"), good=24, found=12, missed=5)
    samples = csv_samples(path, path.parent)
    report = evaluation.evaluate(folder, manifest, samples)
    report["gates"] = gates.check(report, GatesTable(min_auroc=0.9, max_bias=0.5))
    comparison = {"outcome": "not_worse", "why": "<AUROC> +0.0", "images": 41, "parts": 41}
    counts = {"good": {"train": 90, "holdout": 24}, "wide": {"train": 30, "holdout": 12}}
    pictures = gallery(folder, manifest, samples, report)
    return ReportData(manifest, report, comparison, counts, pictures)


def promising(manifest: Manifest) -> Manifest:
    """With a promise."""
    decision = manifest.decision.model_copy(update={"promise": PROMISE})
    return manifest.model_copy(update={"decision": decision})


def changed(data: ReportData, **fields: Any) -> ReportData:
    """With other figures."""
    return ReportData(data.manifest, {**data.evaluation, **fields}, data.comparison, data.counts)


class Elements(HTMLParser):
    """What stands in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_beside_it(data: ReportData) -> None:
    page = html_report(data)
    found = Elements(page)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in found.tags}
    for _, attributes in found.tags:
        for name in ("src", "href", "style"):
            assert (attributes.get(name) or "data:").startswith("data:image/jpeg;base64,") or not attributes.get(name)  # fmt: skip
    assert not re.search(r"https?://|url\(|@import", page)
    assert len(page.encode()) < 2_000_000


def test_the_first_sentence_says_what_was_promised_measured_and_whether_it_is_enough(
    data: ReportData,
) -> None:
    text = Elements(html_report(data)).text
    assert "It rejects 0 of 24 good images and it lets through 5 of 17 defective ones." in text
    assert "Promised is at most 10.0 % of good images rejected." in text
    assert "Promised: at most 10.0 % of good images rejected" in text


def test_what_people_wrote_is_no_markup(data: ReportData) -> None:
    assert "&lt;AUROC&gt; +0.0" in html_report(data)


def test_misses_stand_first_with_image_and_heat(data: ReportData) -> None:
    kinds = [picture.kind for picture in data.pictures]
    assert kinds == ["miss"] * 5 + ["close_call"] * 4
    scores = [picture.score for picture in data.pictures[:5]]
    assert scores == sorted(scores)
    assert data.pictures[0].image != data.pictures[0].heat
    page = Elements(html_report(data))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 18
    assert all(one.get("alt") for one in images)
    assert "No good image is rejected." in page.text


def test_the_gallery_is_bounded_and_leaves_out_what_was_not_decided() -> None:
    decisions = [{"score": n / 100, "verdict": "accept", "label": "dent"} for n in range(50)]
    decisions += [{"score": 0.5 + n / 100, "verdict": "reject", "label": "good"} for n in range(50)]
    decisions += [{"score": None, "verdict": "no_decision", "label": "dent"}]
    assert choose(decisions, 0.5) == [
        *(("miss", n) for n in range(6)), *(("false_alarm", n) for n in range(99, 93, -1)),
    ]  # fmt: skip


def test_a_bundle_that_fails_a_gate_says_so_first(data: ReportData) -> None:
    failed = gates.check(data.evaluation, GatesTable(max_size_mb=0.00001))
    text = Elements(html_report(changed(data, gates=failed))).text
    assert "It fails gates of its line and cannot be released" in text
    assert "That is not enough: it fails gates of its line." in text
    assert "max_size_mb: the size of onnx/fp32" in text


@pytest.mark.parametrize(
    ("count", "trials", "low", "high", "tone", "said"),
    [
        (0, 500, 0.0, 0.007, "good", "it is kept"),
        (1, 100, 0.0003, 0.054, "good", "too few to exclude"),
        (4, 100, 0.011, 0.099, "warn", "no more than chance explains"),
        (20, 100, 0.127, 0.292, "bad", "is not kept"),
    ],
)
def test_a_promise_is_read_against_its_interval(
    count: int, trials: int, low: float, high: float, tone: str, said: str
) -> None:
    rate = {"count": count, "trials": trials, "rate": count / trials, "low": low, "high": high}
    found = words.promises({"overkill_at_most": 0.02}, {"overkill": rate})
    assert [one.tone for one in found] == [tone]
    assert said in found[0].text


def test_a_promise_without_images_is_not_settled() -> None:
    rate = {"count": 0, "trials": 0, "rate": None, "low": 0.0, "high": 1.0}
    found = words.promises({"escape_at_most": 0.02}, {"escape": rate})
    assert [one.tone for one in found] == ["warn"]


def test_no_escape_still_means_up_to_so_many() -> None:
    rate = {"count": 0, "trials": 40, "rate": 0.0, "low": 0.0, "high": 0.088}
    found = words.escapes({"escape": rate})
    assert found is not None
    assert "would still mean up to 8.8 %" in found.text


def test_images_without_a_decision_are_named(data: ReportData) -> None:
    missing = {"count": 2, "defective": 1, "images": [{"image": "a.png", "why": "too small"}]}
    text = Elements(html_report(changed(data, no_decision=missing))).text
    assert "2 images got no decision" in text
    assert "a.png: too small" in text


def test_figures_that_are_not_known_are_dashes(data: ReportData) -> None:
    unknown = changed(data, image_auroc=None, pixel_ap=None, aupro_30=None, aupro_05=None,
                      worst_slice=None, decisions=[], agreement={})  # fmt: skip
    assert "Image AUROC" in html_report(unknown)
    assert "No slice has images enough" in model_card(unknown)


def test_the_model_card_says_use_data_measures_limits_and_promise(data: ReportData) -> None:
    card = model_card(data)
    for title in ("Intended use", "Promise", "Data", "Measures of onnx/fp32", "Limits", "Origin"):
        assert f"\n## {title}\n" in card
    assert "| good | 90 | 24 |" in card
    assert "| Escape | 29.4 % (10.3 to 56.0 %) | defective images that pass |" in card
    assert not re.search(r"https?://|<|\{\{", card)
    # A table ends only where it should: no empty line between two of its rows.
    assert not re.search(r"^\|.*\n\n\|", card.replace("|\n\n| ", "|\n\n\n| "), re.MULTILINE)


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    points = [(n / 5000, n / 5000) for n in range(5001)]
    assert len(thinned(points)) <= 240
    assert (thinned(points)[0], thinned(points)[-1]) == ((0.0, 0.0), (1.0, 1.0))


def test_evaluate_writes_the_page(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tiny_bundle()[1])
    holdout = write_holdout(tmp_path)
    page = tmp_path / "out" / "report.html"
    arguments = ["evaluate", tmp_path / "a.tar", "--csv", holdout, "--html", page]
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "holdout.csv: 24 images of 24 parts" in page.read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_its_window_and_asks_for_nothing(
    data: ReportData, browser: Browser, scheme: Any, width: int, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(html_report(data), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme,
                                  java_script_enabled=True)  # fmt: skip
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter(one => !one.naturalWidth).length"
    assert page.evaluate(broken) == 0
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 29)"
    assert dark == (scheme == "dark")
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"report-{scheme}-{width}.png", full_page=True)
    context.close()
