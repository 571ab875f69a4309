"""The parts of the box by themselves: metrics, pictures, what is kept, log lines."""

import itertools
import json
import logging
import re
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from numpy.typing import NDArray

from edge_agent.box import logs, metrics, picture
from edge_agent.box.commands import register
from edge_agent.box.lately import KEPT, SMALL_SIDE, Lately, Seen, small
from edge_agent.box.metrics import METRICS, STAGES, StageTimes, render
from fleet_contract.clock import ManualClock
from fleet_contract.errors import ResourceError
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame
from fleet_contract.messages import PartVerdict
from fleet_contract.names import Verdict
from tests.support.imports import ROOT
from tests.support.tiny_bundle import solid

PAGE = (ROOT / "docs" / "how-to" / "at-the-box.md").read_text()


def verdict(number: int, found: Verdict = Verdict.ACCEPT) -> PartVerdict:
    return PartVerdict(number=number, verdict=found, score=0.25, latency_ms=3.0, time_s=1.7e9)


def judgement(side: int = 8) -> Judgement:
    return Judgement(Verdict.ACCEPT, 0.25, np.full((side, side), 4.0, np.float32), 1.0)


def test_the_page_names_every_metric_with_its_kind() -> None:
    rows = re.findall(r"^\| `(loupe_\w+)` \| (\w+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == [(name, kind, text) for name, (kind, text) in METRICS.items()]
    assert all(f"`{stage}`" in PAGE for stage in STAGES)


def test_the_page_names_every_command() -> None:
    app = typer.Typer()
    register(app)
    names = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"^\| `loupe-agent (\w+)", PAGE, re.MULTILINE)) == names


def test_a_histogram_counts_up_to_each_edge() -> None:
    times = StageTimes()
    times.part(0.0, 0.0, 0.003, 0.0035, 0.0135)
    times.part(10.0, 10.0, 10.4, 10.4, 10.4)
    text = render(times.samples())
    assert 'loupe_stage_seconds_bucket{stage="judge",le="0.002"} 0' in text
    assert 'loupe_stage_seconds_bucket{stage="judge",le="0.005"} 1' in text
    assert 'loupe_stage_seconds_bucket{stage="judge",le="+Inf"} 2' in text
    assert 'loupe_stage_seconds_count{stage="verdict"} 2' in text
    assert text.count("# TYPE") == 1


def test_labels_are_escaped_and_numbers_keep_all_their_digits() -> None:
    text = render(
        [("loupe_output_lost", {"output": 'a"b\\c\n'}, 1), ("loupe_uptime_seconds", {}, 12345678)]
    )
    assert 'loupe_output_lost{output="a\\"b\\\\c\\n"} 1' in text
    assert "loupe_uptime_seconds 12345678\n" in text


def test_pictures_are_kept_as_often_as_their_verdict_is_worth() -> None:
    clock = ManualClock()
    kept = Lately(clock)
    for number in range(10):
        kept.part(verdict(number), solid(40), judgement())
        clock.advance(0.1)
    kept.part(verdict(10, Verdict.REJECT), solid(40), judgement())
    with_picture = [seen.verdict.number for seen in kept.last() if seen.picture is not None]
    assert with_picture == [10, 5, 0]
    for number in range(11, 11 + KEPT):
        kept.part(verdict(number), None, None)
    assert [seen.verdict.number for seen in kept.last()] == [*range(10 + KEPT, 10, -1), 10, 5, 0]
    assert kept.find(9) is None
    assert kept.find(5) is not None


def test_a_whole_frame_is_copied_only_when_asked_for() -> None:
    kept = Lately(ManualClock())
    frame = solid(40, side=700)
    kept.part(verdict(1), frame, judgement())
    seen = kept.last()[0]
    assert seen.picture is not None
    assert max(seen.picture.shape) <= SMALL_SIDE
    got: list[Seen | None] = []
    asker = threading.Thread(target=lambda: got.append(kept.whole(10)))
    asker.start()
    for number in itertools.count(2):
        kept.part(verdict(number), frame, judgement())
        asker.join(0.01)
        if not asker.is_alive():
            break
    assert got[0] is not None
    assert got[0].picture is not None
    assert got[0].picture.shape == frame.shape
    assert got[0].picture is not frame
    fallback = kept.whole(0.01)
    assert fallback is not None, "no part came: the newest small one"


@pytest.mark.parametrize(
    "frame",
    [
        solid(40),
        solid(40)[:, :, 0].copy(),
        (solid(40).astype(np.uint16) * 100),
        np.zeros((32, 32), np.uint16),
    ],
    ids=["colour", "grey", "16 bits", "black"],
)
def test_every_kind_of_frame_becomes_a_picture(frame: Frame) -> None:
    seen = Seen(verdict(7, Verdict.REJECT), small(frame), judgement().mask_logits)
    image = np.asarray(cv2.imdecode(_bytes(picture.snapshot(seen)), cv2.IMREAD_COLOR))
    assert image.shape == (36 + 32, 64, 3)
    plain, hot = picture.jpeg(seen, heat=False), picture.jpeg(seen, heat=True)
    assert plain[:2] == hot[:2] == b"\xff\xd8"
    assert plain != hot


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def test_the_last_lines_of_a_level_are_given_whatever_a_kill_tore(tmp_path: Path) -> None:
    lines = [{"level": "INFO", "text": "a"}, {"level": "ERROR", "text": "b"}]
    (tmp_path / "agent.log.1").write_text(json.dumps(lines[0]) + "\n")
    (tmp_path / logs.FILE).write_text(json.dumps(lines[1]) + '\n{"level": "IN')
    assert logs.last_lines(tmp_path, 10, "INFO") == lines
    assert logs.last_lines(tmp_path, 1, "WARNING") == lines[1:]
    with pytest.raises(ResourceError, match="holds no log"):
        logs.last_lines(tmp_path / "none", 1, "INFO")


def test_a_record_is_one_line_of_json_and_the_journal_gets_its_priority() -> None:
    record = logging.LogRecord("edge_agent.x", logging.WARNING, "", 1, "two\nlines", (), None)
    line = json.loads(logs._Lines().format(record))
    assert (line["level"], line["logger"], line["text"]) == (
        "WARNING",
        "edge_agent.x",
        "two\nlines",
    )
    assert logs._Journal().format(record) == "<4>edge_agent.x: two\n lines"


def test_every_metric_that_is_told_is_in_the_table() -> None:
    with pytest.raises(KeyError):
        metrics.render([("loupe_unknown", {}, 1)])
