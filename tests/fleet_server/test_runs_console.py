"""Pages of datasets and runs over HTTP: what they say, and the button that starts a run."""

import html
import re
from collections.abc import Iterator

import httpx
import pytest

from fleet_contract.clock import ManualClock
from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_server.app import create_app
from fleet_server.labels import service as labels
from fleet_server.registry.service import put_line, set_champion, set_dataset
from fleet_server.runs import service
from fleet_server.services import Services
from tests.support.http import serve
from tests.support.telemetry import LINE, png, record, sample

CHAMPION = "c" * 64
COMPARISON = {
    "outcome": "not_worse", "why": "AUROC +0.001", "images": 40, "parts": 20,
    "auroc": {"difference": 0.001, "low": -0.01, "high": 0.012},
    "verdicts": {"challenger_right": 2, "champion_right": 1, "p_value": 1.0},
}  # fmt: skip


class Pages:
    """The console of a server with one line, its dataset and its champion."""

    def __init__(self, services: Services, clock: ManualClock, client: httpx.Client) -> None:
        self.services, self.clock, self._client = services, clock, client
        item = {"sha256": services.store.put(png(901)), "label": "good", "group": "p"}
        items = [DatasetItem.model_validate({**item, "split": "holdout"})]
        version = DatasetVersion(line=LINE, reason="import", channels=3, items=items)
        with services.database.write() as session:
            policy = {"train_after_labels": 50, "train_schedule": "daily 02:30"}
            put_line(session, 0.0, "test", LINE, training_config="[line]\n", policy=policy)
            row = labels.add_dataset(session, services.store, 0.0, "ann", version)
            set_dataset(session, 0.0, "ann", LINE, row.digest)
            set_champion(session, 0.0, "ann", LINE, CHAMPION)
        self.dataset = row.digest

    def text(self, path: str) -> str:
        """What a page says, without its tags."""
        answer = self._client.get(self._client.base_url.join(path))
        assert answer.status_code == 200, answer.text
        return _plain(answer.text)

    def press(self, path: str) -> httpx.Response:
        """A form is sent."""
        return self._client.post(self._client.base_url.join(path))

    def label(self, count: int) -> None:
        for n in range(1, count + 1):
            data = png(n)
            self.services.store.put(data)
            body = sample(f"s{n}", data, part=n)
            with self.services.database.write() as session:
                one = record(n, body)
                labels.add_sample(session, "station-1", "spool-1", one, body, 1.0, None)
                labels.set_label(session, 1.0, "ann", body.sample_id, "scratch")

    def end(self, outcome: service.Outcome) -> None:
        """A worker takes the run that waits, and ends it so."""
        with self.services.database.write() as session:
            now, config = self.clock.time(), self.services.config.runs
            run = service.lease(session, now, config, "w1")
            assert run is not None
            service.finish(session, now, run.id, "w1", outcome)


def _plain(page: str) -> str:
    text = re.sub(r"<[^>]+>", " ", page[page.index("<main") :])
    return re.sub(r"\s+", " ", html.unescape(text))


@pytest.fixture
def pages(services: Services, clock: ManualClock) -> Iterator[Pages]:
    with serve(create_app(services)) as client:
        yield Pages(services, clock, client)


def test_a_press_trains_with_the_new_labels_and_shows_the_run(pages: Pages) -> None:
    pages.label(3)
    shown = pages.text("/datasets")
    assert "Train with 3 new labels" in shown
    assert re.search(r"after 50 new labels; daily 02:30, next at \S+ 02:30:00 UTC", shown)
    for _ in range(2):
        pressed = pages.press(f"/lines/{LINE}/train")
        assert pressed.status_code == 303
    run = pages.text(pressed.headers["location"])
    assert "console 3 new labels by console 2 times, last at" in run
    assert "Train with" not in pages.text("/datasets")


def test_a_version_shows_what_it_holds_and_what_came_of_it(pages: Pages) -> None:
    pages.label(2)
    path = pages.press(f"/lines/{LINE}/train").headers["location"]
    pages.end(service.Outcome(True, "b" * 64, COMPARISON, {}, ""))
    with pages.services.database.read() as session:
        run = service.find_run(session, path.removeprefix("/runs/"))
    version = pages.text(f"/datasets/{run.dataset}")
    assert "scratch" in version
    assert "By station" in version
    sentence = (
        f"Not better than the champion {CHAMPION[:12]}, and not worse: AUROC +0.001 (-0.010 to "
        f"+0.012), 2 verdicts gained and 1 lost, on the holdout of dataset {run.dataset[:12]} "
        "(40 images of 20 parts)."
    )
    assert sentence in version
    assert sentence in pages.text(path)
    assert "console" in pages.text("/runs")


def test_a_lost_challenger_says_so_once(pages: Pages) -> None:
    path = pages.press(f"/lines/{LINE}/train").headers["location"]
    lost = {**COMPARISON, "outcome": "worse"}
    pages.end(service.Outcome(False, None, lost, {}, "the challenger is worse: AUROC"))
    shown = pages.text(path)
    assert f"Worse than the champion {CHAMPION[:12]}, and no release" in shown
    assert "the challenger is worse" not in shown


def test_a_first_bundle_has_no_champion_beside_it(pages: Pages) -> None:
    with pages.services.database.write() as session:
        put_line(session, 0.0, "test", "other", training_config="[line]\n", policy={})
        set_dataset(session, 0.0, "test", "other", pages.dataset)
    path = pages.press("/lines/other/train").headers["location"]
    pages.end(service.Outcome(True, "b" * 64, {}, {}, ""))
    assert "there is no champion to compare it with" in pages.text(path)


def test_a_line_that_cannot_be_trained_has_no_button_and_a_refusal_leads_back(
    pages: Pages,
) -> None:
    with pages.services.database.write() as session:
        put_line(session, 0.0, "test", "empty", training_config="", policy={})
    assert "needs a dataset and a training configuration" in pages.text("/datasets")
    refused = pages.press("/lines/empty/train")
    assert refused.status_code == 409
    assert "has no dataset" in refused.text
    assert 'href="/datasets"' in refused.text
