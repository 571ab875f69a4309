"""What is wrong with a data set is found, and named with its files."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from typer.testing import CliRunner

from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_contract.errors import DataError
from fleet_contract.manifest import InputSchema
from tests.trainer.parts import draw
from tests.trainer.versions import changed, picture, put, region, sound, version_of
from trainer.cli import app
from trainer.commands.check import show_findings
from trainer.data.checks.finding import Finding, Findings
from trainer.data.checks.sides import cliffs_delta, holm
from trainer.data.scan import image_facts, jpeg_sides
from trainer.data.store import Store
from trainer.data.validate import any_schema, validate

RUNNER = CliRunner()
BAD = 80
"""The first defective item of `sound`."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def items(store: Store) -> list[DatasetItem]:
    return sound(store)


def look(store: Store, items: list[DatasetItem], **schema: object) -> dict[str, Finding]:
    """Findings by check."""
    version = version_of(items)
    filled = {**any_schema(version).model_dump(), **schema}
    found = validate(store, version, InputSchema.model_validate(filled)).findings
    assert len({finding.check for finding in found}) == len(found)
    return {finding.check: finding for finding in found}


def test_of_a_sound_data_set_nothing_is_said(store: Store, items: list[DatasetItem]) -> None:
    assert look(store, items) == {}


Spoil = Callable[[Store, list[DatasetItem]], list[DatasetItem]]


def other_mask(index: int, mask: NDArray[np.uint8] | bytes) -> Spoil:
    """Puts another mask to one item."""

    def spoil(store: Store, items: list[DatasetItem]) -> list[DatasetItem]:
        label = items[index].label
        return [*items[:index], put(store, index, label, masked=mask), *items[index + 1 :]]

    return spoil


def other_image(index: int, image: NDArray[np.uint8] | bytes) -> Spoil:
    """Puts another image to one item."""

    def spoil(store: Store, items: list[DatasetItem]) -> list[DatasetItem]:
        label = items[index].label
        return [*items[:index], put(store, index, label, image=image), *items[index + 1 :]]

    return spoil


def missing(_store: Store, items: list[DatasetItem]) -> list[DatasetItem]:
    """One item whose file is not in the store."""
    return changed(items, 3, sha256="0" * 64)


def boxes(*box: int) -> Spoil:
    """One defective item with a region."""
    return lambda _store, items: changed(items, BAD, regions=(region("scratch", *box),))


MARKED = np.full((64, 64), 255, np.uint8)
BLANK = np.zeros((64, 64), np.uint8)
COLOUR = draw(500, None)[0]


@pytest.mark.parametrize(
    ("spoil", "check", "severity", "said", "name"),
    [
        (other_image(4, b"no image"), "unreadable", "error", "8 bytes", "4.png"),
        (other_image(4, b""), "unreadable", "error", "0 bytes", "4.png"),
        (missing, "unreadable", "error", "has no object", "3.png"),
        (other_image(5, BLANK), "blank", "error", "every pixel is 0", "5.png"),
        (other_mask(BAD, b"no mask"), "unreadable-mask", "error", "7 bytes", "80.png"),
        (other_mask(BAD, MARKED[:32]), "mask-size", "error", "mask 64x32, image 64x64", "80.png"),
        (other_mask(BAD, BLANK), "mask-empty", "warning", "nothing is marked", "80.png"),
        (other_mask(7, MARKED), "mask-on-good", "error", "marked", "7.png"),
        (boxes(0, 0, 80, 80), "region-outside", "error", "in 64x64", "80.png"),
        (boxes(0, 0, 3, 3), "region-empty", "warning", "scratch at (0, 0, 3, 3)", "80.png"),
        (other_image(6, COLOUR), "schema-channels", "warning", "colour", "6.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_wrong_is_named(
    store: Store, items: list[DatasetItem], spoil: Spoil, check: str, severity: str, said: str,
    name: str,
) -> None:  # fmt: skip
    found = look(store, spoil(store, items))
    assert set(found) == {check}
    assert (found[check].severity, found[check].files, found[check].count) == (severity, [name], 1)
    assert said in found[check].what


@pytest.mark.parametrize(
    ("schema", "check", "said"),
    [
        ({"min_side": 65}, "schema-size", "64x64"),
        ({"max_side": 63}, "schema-size", "outside of 8 to 63 pixels"),
        ({"depth": 16}, "schema-depth", "8 bits"),
        ({"grey_range": (0, 50)}, "schema-grey", "mean grey level"),
    ],
)
def test_images_outside_of_the_schema_are_named(
    store: Store, items: list[DatasetItem], schema: dict[str, object], check: str, said: str
) -> None:
    found = look(store, items, **schema)
    assert set(found) == {check}
    assert found[check].severity == "error"
    assert found[check].count == len(items)
    assert len(found[check].files) == 10
    assert said in found[check].what


def test_a_picture_of_16_bits_is_measured_in_levels_of_8() -> None:
    grey = draw(1, None)[0][..., 0]
    deep = image_facts(bytes(cv2.imencode(".png", grey.astype(np.uint16) << 8)[1]))
    flat = image_facts(bytes(cv2.imencode(".png", grey)[1]))
    assert (deep.depth, flat.depth) == (16, 8)
    assert deep.mean == pytest.approx(flat.mean, abs=0.01)
    assert deep.sharpness == pytest.approx(flat.sharpness, rel=1e-3)


def test_a_large_jpeg_is_reduced_while_it_is_decoded() -> None:
    grey = cv2.resize(draw(1, None)[0][..., 0], (2600, 2100))
    data = bytes(cv2.imencode(".jpg", grey)[1])
    assert jpeg_sides(data) == (2600, 2100)
    large = image_facts(data)
    small = image_facts(bytes(cv2.imencode(".png", grey)[1]))
    assert (large.width, large.height, large.pixels) == (2600, 2100, "")
    assert large.mean == pytest.approx(small.mean, abs=0.5)
    np.testing.assert_allclose(large.thumbnail, small.thumbnail, atol=4)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00", b"\x89PNG rest of it"])
def test_what_is_no_jpeg_has_no_jpeg_sides(data: bytes) -> None:
    assert jpeg_sides(data) is None


def test_one_picture_under_two_labels_is_an_error(store: Store, items: list[DatasetItem]) -> None:
    # Another file, the same pixels.
    again = bytes(cv2.imencode(".bmp", picture(2))[1])
    twin = put(store, 2, "scratch", image=again, masked=None, source="twin.bmp")
    found = look(store, [*items, twin])
    assert set(found) == {"same-picture-labels"}
    assert found["same-picture-labels"].files == ["2.png = twin.bmp"]


def test_one_picture_on_both_sides_is_an_error(store: Store, items: list[DatasetItem]) -> None:
    twin = put(store, 2, source="twin.png", group="other", split="holdout")
    found = look(store, [*items, twin])
    assert set(found) == {"same-picture-sides"}
    assert found["same-picture-sides"].severity == "error"


def test_copies_on_one_side_are_only_said(store: Store, items: list[DatasetItem]) -> None:
    twin = put(store, 2, source="twin.png")
    assert look(store, [*items, twin])["same-picture"].severity == "note"
    stray = put(store, 2, source="twin.png", group="other", split="train")
    assert look(store, [*items, stray])["same-picture-parts"].severity == "warning"


def lit(number: int, label: str = "good") -> NDArray[np.uint8]:
    """The part under a lamp that has aged, with noise of its own."""
    noise = np.random.default_rng(number).normal(0, 1, (64, 64))
    return np.asarray((picture(number, label) * 0.7 + 5 + noise).clip(0, 255), np.uint8)


def test_a_part_seen_again_on_the_other_side_is_a_warning(
    store: Store, items: list[DatasetItem]
) -> None:
    again = put(store, 2, image=lit(2), source="again.png", group="other", split="holdout")
    found = look(store, [*items, again])
    assert set(found) == {"alike-across-sides"}
    assert found["alike-across-sides"].files == ["2.png = again.png"]


def test_a_part_seen_again_with_another_label_is_a_warning(
    store: Store, items: list[DatasetItem]
) -> None:
    again = put(store, 2, "scratch", image=lit(2), masked=None, source="again.png", group="other")
    assert set(look(store, [*items, again])) == {"alike-labels"}


def test_people_who_disagree_are_said(store: Store, items: list[DatasetItem]) -> None:
    said = changed(items, 1, appraisals={"ada": "good", "bo": "scratch"})
    said = changed(said, 2, appraisals={"ada": "good", "bo": "good"})
    found = look(store, said)
    assert set(found) == {"appraisals-disagree"}
    assert "1 image, 50% of those" in found["appraisals-disagree"].what
    nobody = changed(items, 1, appraisals={"ada": "scratch"})
    assert set(look(store, nobody)) == {"appraisals-label"}


def test_a_part_on_both_sides_is_an_error(store: Store, items: list[DatasetItem]) -> None:
    found = look(store, changed(items, 0, split="holdout", group="p2"))
    assert found["part-on-both-sides"].files == ["p2"]


def test_classes_that_are_not_there_are_named(store: Store, items: list[DatasetItem]) -> None:
    version = version_of(items)
    found = validate(store, version, any_schema(version), classes=["scratch", "dent"]).findings
    assert [(one.check, one.files) for one in found] == [("class-empty", ["dent"])]


def test_a_class_on_one_side_only_is_said(store: Store, items: list[DatasetItem]) -> None:
    found = look(store, [*items, put(store, 300, "stain"), put(store, 302, "stain")])
    assert found["class-not-measured"].files == ["stain"]
    assert "2 of stain" in found["too-few-to-learn"].what
    found = look(store, [*items, put(store, 301, "stain"), put(store, 303, "stain")])
    assert found["class-not-trained"].files == ["stain"]


def test_too_few_parts_are_said_with_the_interval_that_they_give(
    store: Store, items: list[DatasetItem]
) -> None:
    few = [item for item in items if item.label == "good" or int(item.group[1:]) < BAD + 6]
    found = look(store, few)
    assert found["too-few-defective"].what == (
        "3 defective parts held out: without a single miss the escape rate is still 0 to 71%"
    )
    assert "Hold out 11 or more to say at most 30%" in found["too-few-defective"].remedy
    assert "71% (scratch, 3)" in found["too-few-of-class"].what
    assert found["too-few-to-learn"].files == ["scratch"]


def test_good_parts_alone_are_no_error(store: Store, items: list[DatasetItem]) -> None:
    found = look(store, items[:BAD])
    assert "class-good-only" in found
    assert {one.severity for one in found.values()} == {"note"}


def test_a_side_without_good_parts_is_said(store: Store, items: list[DatasetItem]) -> None:
    trained = [i for i in items if i.label != "good" or i.split == "train"]
    assert "no good part is held out" in look(store, trained)["too-few-good"].what


def test_sides_that_differ_in_light_are_said(store: Store, items: list[DatasetItem]) -> None:
    dark = [
        put(store, n, item.label, image=lit(n, item.label), masked=None)
        if item.split == "holdout" and n < BAD
        else item
        for n, item in enumerate(items)
    ]
    version = version_of(dark)
    told = [one.what for one in validate(store, version, any_schema(version)).findings
            if one.check == "sides-differ"]  # fmt: skip
    assert any(text.startswith("mean grey level differs between the sides") for text in told)
    assert all("Cliff's delta" in text and "after Holm" in text for text in told)


def test_holm_corrects_for_the_number_of_tests() -> None:
    # The example of Holm's procedure by hand: 0.01*4, 0.02*3, then never below what came before.
    assert holm({"a": 0.02, "b": 0.01, "c": 0.03, "d": 0.9}) == pytest.approx(
        {"b": 0.04, "a": 0.06, "c": 0.06, "d": 0.9}
    )


def test_cliffs_delta_is_one_where_all_lie_above() -> None:
    low, high = np.arange(5.0), np.arange(10.0, 16.0)
    assert cliffs_delta(high, low) == 1.0
    assert cliffs_delta(low, high) == -1.0
    assert cliffs_delta(low, low) == 0.0


def test_what_another_version_of_the_line_holds_out_is_said(
    tmp_path: Path, items: list[DatasetItem], store: Store
) -> None:
    own = Store(tmp_path / "store")
    for item in items[:12]:
        own.put(store.get(item.sha256))
    first = version_of(items[:12])
    turned = [i.model_copy(update={"split": "train" if i.split == "holdout" else "holdout"})
              for i in items[:12]]  # fmt: skip
    own.put_version(first)
    own.put_version(version_of(turned))
    found = {one.check: one for one in validate(own, first, any_schema(first)).findings}
    assert found["held-out-elsewhere"].count == 6


def test_errors_stop_a_build_and_warnings_do_not(store: Store, items: list[DatasetItem]) -> None:
    version = version_of(other_image(4, b"no image")(store, items))
    with pytest.raises(DataError, match=r"cannot be trained on: 1 image that cannot be .*4\.png"):
        validate(store, version, any_schema(version)).refuse_errors()
    validate(store, version_of(items[:BAD]), any_schema(version)).refuse_errors()


def test_the_progress_is_told(store: Store, items: list[DatasetItem]) -> None:
    said: list[tuple[int, int]] = []
    version = version_of(items[:5])
    validate(store, version, any_schema(version), tick=lambda done, of: said.append((done, of)))
    assert said == [(n, 5) for n in range(1, 6)]


@pytest.fixture
def kept(tmp_path: Path, store: Store, items: list[DatasetItem]) -> tuple[Store, DatasetVersion]:
    """A store of its own with one version."""
    own = Store(tmp_path / "store")
    for name in {name for item in items for name in (item.sha256, item.mask) if name}:
        own.put(store.get(name))
    version = version_of(items)
    own.put_version(version)
    return own, version


def test_the_command_says_that_nothing_is_wrong(kept: tuple[Store, DatasetVersion]) -> None:
    result = RUNNER.invoke(app, ["validate", "--store", str(kept[0].folder)])
    assert result.exit_code == 0
    assert "120 images of 120 parts: nothing is wrong" in result.stdout


def test_the_command_fails_where_there_is_an_error(kept: tuple[Store, DatasetVersion]) -> None:
    own, version = kept
    (own.folder / "objects" / version.items[0].sha256).write_bytes(b"other bytes")
    asked = ["validate", version.digest()[:12], "--store", str(own.folder), "--json"]
    result = RUNNER.invoke(app, asked)
    assert result.exit_code == 2
    found = Findings.model_validate(json.loads(result.stdout)).of("error")
    assert [(one.check, one.files) for one in found] == [("unreadable", ["0.png"])]


def test_the_command_takes_the_schema_of_the_line(
    kept: tuple[Store, DatasetVersion], tmp_path: Path
) -> None:
    config = tmp_path / "line.toml"
    config.write_text('[line]\nname = "discs"\n[input]\nchannels = 1\nmin_side = 100\n')
    result = RUNNER.invoke(
        app, ["validate", "--store", str(kept[0].folder), "--config", str(config)]
    )
    assert result.exit_code == 2
    assert "outside of 100 to" in result.stdout


def test_names_with_brackets_are_shown_as_they_are(store: Store, items: list[DatasetItem]) -> None:
    version = version_of(other_image(4, b"no image")(store, items))
    named = changed(version.items, 4, source="lot [red] 4.png")
    console = Console(file=io.StringIO(), width=120)
    show_findings(validate(store, version_of(named), any_schema(version)), console)
    assert isinstance(console.file, io.StringIO)
    assert "lot [red] 4.png" in console.file.getvalue()
