"""What images may be: depth, channels, size, turned by a note; and what is added to a version."""

import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fleet_contract.errors import ConfigError, DataError
from fleet_contract.inference.preprocess import decode_image
from tests.trainer.marked import by_stem, marks_of, pictures
from tests.trainer.parts import write_csv, write_image
from trainer.data.formats.picture import orientation_of, turn_back
from trainer.data.importing import ImportOptions, import_source
from trainer.data.store import Store

OPTIONS = ImportOptions("discs", holdout=0.5, group="none")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def tagged(image: NDArray[np.uint8], orientation: int) -> bytes:
    """A JPEG with a note of how to turn it (EXIF)."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def corner(width: int = 60, height: int = 40) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture with a red mark near one corner, and its mask."""
    rng = np.random.default_rng(5)
    image = rng.integers(90, 110, (height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    image[4:10, 6:20] = (220, 20, 20)
    mask[4:10, 6:20] = 255
    return image, mask


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_back_undoes_what_a_viewer_does(orientation: int) -> None:
    data = tagged(corner()[0], orientation)
    buffer = np.frombuffer(data, np.uint8)
    shown = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
    stored = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert shown is not None
    assert stored is not None
    assert orientation_of(data) == orientation
    assert np.array_equal(turn_back(shown, orientation), stored)


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("as_shown", [False, True])
def test_a_note_to_turn_an_image_does_not_turn_it_away_from_its_mask(
    store: Store, tmp_path: Path, orientation: int, as_shown: bool
) -> None:
    image, mask = corner()
    folder = tmp_path / "set"
    for one in pictures():
        one.write(folder / "images")
        write_image(folder / "masks" / f"{one.stem}.png", one.mask)
    (folder / "images" / "turned.jpg").write_bytes(tagged(image, orientation))
    undo = {3: 3, 6: 8, 8: 6}[orientation]
    # Half a turn keeps the size: then a mask is taken as the pixels are stored.
    turned = turn_back(mask, undo) if as_shown and orientation != 3 else mask
    write_image(folder / "masks" / "turned.png", turned)
    item = by_stem(import_source(store, folder, OPTIONS))["turned"]
    frame = decode_image(store.get(item.sha256), 3)
    marked = marks_of(store, item) > 0
    assert frame.shape[:2] == marked.shape
    assert frame[marked][:, 0].min() > 150
    assert frame[~marked][:, 0].max() < 200


def test_a_box_that_was_drawn_on_a_turned_image_is_turned_back(
    store: Store, tmp_path: Path
) -> None:
    image, mask = corner()
    root = tmp_path / "set"
    for one in pictures():
        one.write(root / "images")
    (root / "images" / "turned.jpg").write_bytes(tagged(image, 6))
    left, top, width, height = cv2.boundingRect(turn_back(mask, 8))
    shares = ((left + width / 2) / 40, (top + height / 2) / 60, width / 40, height / 60)
    (root / "labels").mkdir()
    (root / "labels" / "turned.txt").write_text(" ".join(["0", *(f"{n:.6f}" for n in shares)]))
    (root / "labels" / "part_004.txt").write_text("0 .5 .5 .5 .5")
    (root / "classes.txt").write_text("dent")
    item = by_stem(import_source(store, root, OPTIONS))["turned"]
    assert np.array_equal(marks_of(store, item) > 0, mask > 0)
    assert item.regions[0].box == cv2.boundingRect(mask)


def deep(folder: Path, count: int = 4, channels: int = 1) -> Path:
    """Folders by class with PNG and TIFF images of 16 bits, 12 of them used."""
    rng = np.random.default_rng(7)
    for label in ("good", "dent"):
        for number in range(count):
            shape = (100 + number, 120) if channels == 1 else (100 + number, 120, 3)
            image = rng.integers(1000, 4096, shape, np.uint16)
            path = folder / label / f"{number}{'.png' if number % 2 else '.tiff'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
    return folder


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_16_bits_are_taken_as_they_are(
    store: Store, tmp_path: Path, channels: int
) -> None:
    version = import_source(store, deep(tmp_path / "set", channels=channels), OPTIONS)
    assert (version.depth, version.channels) == (16, channels)
    item = by_stem(version)["0"]
    frame = decode_image(store.get(item.sha256), channels, 16)
    assert frame.dtype == np.uint16
    assert 1000 <= frame.min() < frame.max() < 4096


def test_a_mix_of_depths_names_the_odd_ones(store: Store, tmp_path: Path) -> None:
    folder = deep(tmp_path / "set")
    pictures()[0].write(folder / "good")
    with pytest.raises(DataError, match=r"8 and of 16 bits are mixed; expected 16.*part_000\.png"):
        import_source(store, folder, OPTIONS)


def test_images_of_floating_numbers_are_refused(store: Store, tmp_path: Path) -> None:
    folder = deep(tmp_path / "set")
    cv2.imwrite(str(folder / "good" / "float.tiff"), np.eye(20, dtype=np.float32))
    with pytest.raises(DataError, match=r"float\.tiff is not an image that can be used.*float32"):
        import_source(store, folder, OPTIONS)


def test_sizes_from_100_to_6000_pixels_may_stand_together(store: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    folder = tmp_path / "set"
    sizes = [("good", 100, 6000), ("good", 6000, 4000), ("dent", 100, 100), ("dent", 4000, 6000)]
    for number, (label, height, width) in enumerate(sizes):
        small = rng.integers(0, 255, (height // 20, width // 20), np.uint8)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
        write_image(folder / label / f"{number}.png", np.asarray(image, np.uint8))
    mask = np.zeros((4000, 6000), np.uint8)
    mask[3990:, 5998:] = 255
    write_image(folder / "masks" / "dent" / "3.png", mask)
    version = import_source(store, folder, OPTIONS)
    assert np.array_equal(marks_of(store, by_stem(version)["3"]), mask)


def test_pictures_of_one_part_under_other_light_stay_on_one_side(
    store: Store, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    folder = tmp_path / "set"
    for part in range(30):
        texture = cv2.resize(rng.integers(60, 190, (12, 12), np.uint8), (96, 96),
                             interpolation=cv2.INTER_CUBIC)  # fmt: skip
        label = "dent" if part % 3 == 0 else "good"
        for light in (0.7, 1.0, 1.25):
            image = np.asarray((texture * light).clip(0, 255), np.uint8)
            write_image(folder / label / f"{part:02d}-{light}.png", image)
    version = import_source(store, folder, replace(OPTIONS, group=""))
    groups: dict[str, set[str]] = {}
    for item in version.items:
        groups.setdefault(Path(item.source).name[:2], set()).add(item.group)
    assert all(len(names) == 1 for names in groups.values())
    assert len(set().union(*groups.values())) == 30


def test_images_that_are_all_alike_are_parts_of_their_own_and_that_is_said(
    store: Store, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    texture = cv2.resize(rng.integers(60, 190, (12, 12), np.uint8), (96, 96))
    for number in range(8):
        image = np.asarray(texture * (1 + number / 100), np.uint8)
        write_image(tmp_path / "set" / ("dent" if number % 2 else "good") / f"{number}.png", image)
    said: list[str] = []
    version = import_source(store, tmp_path / "set", replace(OPTIONS, group=""), say=said.append)
    assert len({item.group for item in version.items}) == 8
    assert any("too much alike to tell parts by" in text for text in said)


def more(folder: Path, first: int, count: int, good: int) -> Path:
    """A manifest of parts from number `first` on."""
    path = write_csv(folder, good=first + count, bad=0)
    lines = path.read_text().splitlines()
    rows = [line.replace(",good,", ",stain," if n >= good else ",good,")
            for n, line in enumerate(lines[1 + first :])]  # fmt: skip
    path.write_text("\n".join([lines[0], *rows]))
    return path


def test_images_are_added_to_a_version_and_known_parts_keep_their_side(
    store: Store, tmp_path: Path
) -> None:
    by_group = replace(OPTIONS, group="group")
    first = import_source(store, write_csv(tmp_path / "one", good=8, bad=4), by_group)
    path = more(tmp_path / "two", first=100, count=12, good=8)
    # A part that is known gets another picture.
    held = first.side("holdout")[0]
    path.write_text(path.read_text().replace(",p100,", f",{held.group},").replace(
        ",good,", f",{held.label},", 1))  # fmt: skip
    second = import_source(store, path, by_group, parent=first)
    assert second.parent == first.digest()
    assert second.reason.endswith("12 images more")
    assert [i for i in second.items if i.sha256 in {k.sha256 for k in first.items}] == first.items
    sides = {item.group: item.split for item in second.items}
    assert all(sides[item.group] == item.split for item in first.items)
    assert len(second.side("holdout")) > len(first.side("holdout"))
    assert store.version(first.digest()) == first


def test_adding_what_is_there_says_so(store: Store, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "one", good=4, bad=2)
    first = import_source(store, path, OPTIONS)
    with pytest.raises(DataError, match="there is nothing to add"):
        import_source(store, path, OPTIONS, parent=first)


def test_an_image_that_is_there_under_another_label_is_refused(
    store: Store, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "one", good=4, bad=2, masks=False)
    first = import_source(store, path, OPTIONS)
    path.write_text(path.read_text().replace("stain", "dent"))
    with pytest.raises(
        DataError, match=r"part_006\.png is in the version already.*expected stain; found dent"
    ):
        import_source(store, path, OPTIONS, parent=first)


def test_a_version_of_another_line_or_depth_is_not_added_to(store: Store, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "one", good=4, bad=2)
    first = import_source(store, path, OPTIONS)
    with pytest.raises(ConfigError, match="of another line; expected cups; found discs"):
        import_source(store, path, replace(OPTIONS, line="cups"), parent=first)
    with pytest.raises(
        DataError, match=r"8 and of 16 bits are mixed; expected 8 bits.*the version"
    ):
        import_source(store, deep(tmp_path / "deep"), OPTIONS, parent=first)


def test_colour_is_not_added_to_grey_unless_that_is_said(store: Store, tmp_path: Path) -> None:
    for number in range(4):
        for label in ("good", "dent"):
            image = pictures(9)[number + 4 * (label == "dent")].image
            write_image(tmp_path / "grey" / label / f"{number}.png", image[..., 0])
    first = import_source(store, tmp_path / "grey", OPTIONS)
    path = write_csv(tmp_path / "one", good=4, bad=2)
    with pytest.raises(DataError, match=r"other channels.*Say --channels 1"):
        import_source(store, path, OPTIONS, parent=first)
    second = import_source(store, path, replace(OPTIONS, channels=1), parent=first)
    assert (second.channels, len(second.items)) == (1, 16)
