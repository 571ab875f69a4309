"""Masks as images: folders by class, pairs, the layout of MVTec AD, tables."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleet_contract.errors import ConfigError, DataError
from tests.trainer.marked import assert_same, by_stem, marks_of, pictures
from tests.trainer.parts import write_csv, write_image
from trainer.data.importing import ImportOptions, import_source
from trainer.data.store import Store

OPTIONS = ImportOptions("discs", holdout=0.5, group="none")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """images/ and masks/: the good have an empty mask, the first none."""
    for number, one in enumerate(pictures()):
        one.write(tmp_path / "set" / "images")
        if number:
            write_image(tmp_path / "set" / "masks" / f"{one.stem}.png", one.mask)
    return tmp_path / "set"


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """One category: four good to train on, two good and two of each defect to test."""
    root = tmp_path / "disc"
    for number, one in enumerate(pictures(good=6)):
        if one.bad:
            one.write(root / "test" / one.label)
            write_image(root / "ground_truth" / one.label / f"{one.stem}_mask.png", one.mask)
        else:
            one.write(root / ("train" if number < 4 else "test") / "good")
    return root


def test_pairs_are_recognised_and_an_empty_or_missing_mask_is_good(
    store: Store, pairs: Path
) -> None:
    said: list[str] = []
    version = import_source(store, pairs, OPTIONS, say=said.append)
    assert said[0] == "taken as masks: it holds images/ and masks/"
    expected = [replace(one, label="defect" if one.bad else "good") for one in pictures()]
    assert_same(store, version, expected, exact=True)


def test_a_mask_may_have_mask_behind_its_stem(store: Store, pairs: Path) -> None:
    for path in (pairs / "masks").iterdir():
        path.rename(path.with_stem(f"{path.stem}_mask"))
    labels = [item.label for item in import_source(store, pairs, OPTIONS).items]
    assert labels.count("defect") == 4


def test_a_mask_of_zeros_and_ones_is_understood(store: Store, pairs: Path) -> None:
    for one in pictures():
        write_image(pairs / "masks" / f"{one.stem}.png", (one.mask > 0).astype(np.uint8))
    expected = [replace(one, label="defect" if one.bad else "good") for one in pictures()]
    assert_same(store, import_source(store, pairs, OPTIONS), expected, exact=True)


def test_a_mask_that_numbers_classes_is_refused_rather_than_guessed_at(
    store: Store, pairs: Path
) -> None:
    path = pairs / "masks" / "part_004.png"
    mask = np.zeros((64, 64), np.uint8)
    mask[:8], mask[8:16] = 1, 2
    write_image(path, mask)
    with pytest.raises(DataError, match=r"part_004\.png cannot be understood.*black and white"):
        import_source(store, pairs, OPTIONS)


def test_a_mask_without_an_image_is_named(store: Store, pairs: Path) -> None:
    write_image(pairs / "masks" / "lost.png", np.zeros((64, 64), np.uint8))
    with pytest.raises(DataError, match=r"lost\.png has no image"):
        import_source(store, pairs, OPTIONS)


def test_two_images_of_one_stem_are_named(store: Store, pairs: Path) -> None:
    (pairs / "images" / "part_002.bmp").write_bytes(
        (pairs / "images" / "part_003.png").read_bytes()
    )
    with pytest.raises(DataError, match=r"part_002\.bmp and .*part_002\.png share one annotation"):
        import_source(store, pairs, OPTIONS)


def test_the_same_name_in_two_folders_is_two_images(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for folder, numbers in (("a", (0, 4)), ("b", (1, 5))):
        for stem, number in zip(("one", "two"), numbers, strict=True):
            one = replace(pictures()[number], stem=stem)
            one.write(root / "images" / folder)
            write_image(root / "masks" / folder / f"{stem}.png", one.mask)
    version = import_source(store, root, OPTIONS)
    assert {item.source for item in version.items} == {
        f"images/{folder}/{stem}.png" for folder in "ab" for stem in ("one", "two")
    }
    for item in version.items:
        assert (item.mask is not None) == item.source.endswith("two.png")


def test_the_layout_of_mvtec_is_recognised_and_split_anew(store: Store, mvtec: Path) -> None:
    said: list[str] = []
    version = import_source(store, mvtec, OPTIONS, say=said.append)
    assert said[0].startswith("taken as mvtec")
    assert_same(store, version, pictures(good=6), exact=True)
    assert {item.label for item in version.side("train")} == {"good", "scratch", "stain"}


def test_the_split_of_mvtec_is_kept_where_that_is_asked_for(store: Store, mvtec: Path) -> None:
    version = import_source(store, mvtec, replace(OPTIONS, keep_split=True))
    assert {item.source.split("/")[0] for item in version.side("holdout")} == {"test"}
    assert {item.source.split("/")[0] for item in version.side("train")} == {"train"}


def test_a_part_on_both_sides_of_the_split_is_named(store: Store, mvtec: Path) -> None:
    asked = replace(OPTIONS, keep_split=True, group="re:part_0([01])")
    with pytest.raises(DataError, match="part '0' stands on both sides of the source's split"):
        import_source(store, mvtec, asked)


def test_a_folder_of_categories_asks_for_one_of_them(store: Store, mvtec: Path) -> None:
    with pytest.raises(DataError, match="categories: disc"):
        import_source(store, mvtec.parent, replace(OPTIONS, format="mvtec"))


def test_a_defect_of_mvtec_without_its_mask_is_named(store: Store, mvtec: Path) -> None:
    (mvtec / "ground_truth" / "scratch" / "part_006_mask.png").unlink()
    with pytest.raises(
        DataError, match=r"part_006\.png has no mask; expected .*part_006_mask\.png"
    ):
        import_source(store, mvtec, OPTIONS)


def test_a_format_that_is_not_known_names_those_that_are(store: Store, pairs: Path) -> None:
    with pytest.raises(ConfigError, match="expected auto, csv, mvtec, coco"):
        import_source(store, pairs, replace(OPTIONS, format="kitti"))


def test_a_folder_in_no_known_format_says_what_it_holds(store: Store, tmp_path: Path) -> None:
    (tmp_path / "set" / "pictures").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no format that is known.*found pictures"):
        import_source(store, tmp_path / "set", OPTIONS)


def test_a_table_may_use_semicolons_and_start_with_a_mark(store: Store, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data", good=4, bad=2)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b",", b";"))
    assert_same(store, import_source(store, path, OPTIONS), pictures(), exact=True)


def test_a_table_without_labels_is_read_by_its_masks(store: Store, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data", good=4, bad=2)
    path.write_text(path.read_text().replace("label", "kind", 1))
    version = import_source(store, path, OPTIONS)
    assert sorted(item.label for item in version.items) == ["defect"] * 4 + ["good"] * 4


def test_what_each_person_said_is_kept(store: Store, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data", good=4, bad=2)
    lines = path.read_text().splitlines()
    lines[0] += ",appraiser:ann,appraiser:bo"
    lines[1:] = [
        f"{line},good,{'Stain' if number == 1 else ''}" for number, line in enumerate(lines[1:])
    ]
    path.write_text("\n".join(lines))
    items = by_stem(import_source(store, path, OPTIONS))
    assert items["part_001"].appraisals == {"ann": "good", "bo": "stain"}
    assert items["part_000"].appraisals == {"ann": "good"}
    assert items["part_000"].slices == {"shift": "night"}


def test_a_table_that_is_not_utf_8_says_how_to_save_it(store: Store, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data", good=4, bad=2)
    path.write_bytes(path.read_bytes().replace(b"stain", "Fläche".encode("latin-1")))
    with pytest.raises(DataError, match=r"manifest\.csv is not text in UTF-8.*byte 0xe4.*Save it"):
        import_source(store, path, OPTIONS)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "images/../../secret.png"])
def test_a_path_out_of_the_source_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    path = write_csv(tmp_path / "data", good=4, bad=2)
    write_image(tmp_path / "secret.png", pictures()[0].image)
    path.write_text(path.read_text().replace("images/part_000.png", name))
    with pytest.raises(DataError, match=r"names a file outside of its folder.*--root"):
        import_source(store, path, OPTIONS)


def test_all_problems_are_shown_together_and_no_version_is_stored(
    store: Store, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "data", good=4, bad=2)
    for number in (1, 3):
        (path.parent / "images" / f"part_{number:03d}.png").unlink()
    write_image(path.parent / "masks" / "part_005.png", np.full((8, 8), 255, np.uint8))
    with pytest.raises(DataError) as failed:
        import_source(store, path, OPTIONS)
    text = str(failed.value)
    assert text.startswith("3 problems, and nothing was imported")
    for name in ("part_001.png", "part_003.png", "part_005.png"):
        assert name in text
    assert store.digests() == []


def test_of_many_problems_the_first_twenty_are_shown(store: Store, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data", good=25, bad=2)
    for image in sorted((path.parent / "images").iterdir())[:23]:
        image.unlink()
    with pytest.raises(DataError) as failed:
        import_source(store, path, OPTIONS)
    text = str(failed.value)
    assert text.count("cannot be read") == 20
    assert text.endswith("- and 3 more")


def test_two_classes_that_get_one_label_are_refused(store: Store, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data", good=4, bad=2)
    path.write_text(path.read_text().replace("stain", "a b").replace("scratch", "a.b"))
    with pytest.raises(DataError, match=r"'a\.b' and 'a b' get the same label"):
        import_source(store, path, OPTIONS)


def test_labels_of_other_scripts_stay_apart(store: Store, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data", good=4, bad=2)
    path.write_text(path.read_text().replace(",stain,", ",Größe,").replace(",scratch,", ",划痕,"))
    labels = {item.label for item in import_source(store, path, OPTIONS).items}
    assert labels == {"good", "grosse", "u5212_u75d5"}


def test_a_mask_is_stored_as_0_and_255(store: Store, pairs: Path) -> None:
    soft = pictures()[4].mask.copy()
    soft[soft > 0] = 200
    soft[0, 0] = 40  # as a smoothed edge
    write_image(pairs / "masks" / "part_004.png", soft)
    version = import_source(store, pairs, OPTIONS)
    stored = marks_of(store, by_stem(version)["part_004"])
    assert np.array_equal(stored, pictures()[4].mask)
