"""The size that a line is looked at, from the sizes of its images and defects."""

import pytest

from fleet_contract.dataset import DatasetItem, DatasetVersion, Region
from trainer.config import InputTable
from trainer.data.statistics import DatasetStatistics, DefectSizes, ImageSides, Light, Spread
from trainer.geometry import canvas_scale, choose, classes


def spread(value: float) -> Spread:
    return Spread(min=value, p10=value, p50=value, p90=value, max=value)


def facts(width: float, height: float, defect: float | None) -> DatasetStatistics:
    sizes = [] if defect is None else [DefectSizes(
        label="dent", count=9, short_side_p10=defect, short_side_p50=2 * defect,
        short_side_p90=3 * defect, area_p10=defect**2, area_p50=defect**2, area_p90=defect**2,
    )]  # fmt: skip
    return DatasetStatistics(
        dataset="0" * 64, images=9, parts=9, unreadable=0, masks=9, labels={}, slices={},
        image_sides=ImageSides(width=spread(width), height=spread(height)),
        light=Light(mean=Spread(min=100, p10=110, p50=120, p90=130, max=155),
                    contrast=spread(30), sharpness=spread(1)),
        defects=sizes,
    )  # fmt: skip


def version(depth: int = 8, regions: tuple[Region, ...] = ()) -> DatasetVersion:
    item = DatasetItem(sha256="0" * 64, label="dent", group="a", split="train", regions=regions)
    return DatasetVersion.model_validate(
        {"line": "a", "reason": "test", "channels": 1, "depth": depth, "items": [item]}
    )


def test_small_images_are_looked_at_whole_and_never_at_less_than_256_pixels() -> None:
    chosen = choose(InputTable(), version(), facts(256, 320, 8)).preprocess
    assert (chosen.height, chosen.width, chosen.tiling) == (320, 256, None)
    tiny = choose(InputTable(), version(), facts(100, 80, 8)).preprocess
    assert (tiny.height, tiny.width, tiny.tiling) == (192, 256, None)


def test_large_defects_let_a_large_image_shrink_to_one_view() -> None:
    chosen = choose(InputTable(), version(), facts(2000, 1000, 120)).preprocess
    assert (chosen.height, chosen.width, chosen.tiling) == (128, 256, None)


def test_small_defects_in_a_large_image_ask_for_tiles_at_its_own_scale() -> None:
    found = choose(InputTable(), version(), facts(1024, 1024, 6))
    chosen = found.preprocess
    assert chosen.tiling is not None
    assert chosen.tiling.whole
    assert min(chosen.canvas) >= 1024
    assert "6 pixels" in found.why


def test_six_thousand_pixels_stay_within_bounds() -> None:
    chosen = choose(InputTable(), version(), facts(6000, 6000, 2)).preprocess
    assert chosen.tiling is not None
    assert chosen.tiling.rows <= 32
    assert max(chosen.canvas) <= 4096 + chosen.height


def test_an_image_a_little_too_large_for_one_view_is_shrunk_rather_than_tiled() -> None:
    assert canvas_scale(400, 460, 8) == pytest.approx(384 / 460)
    assert canvas_scale(512, 512, 8) == 1.0


def test_where_no_place_is_known_the_frame_keeps_its_size() -> None:
    assert canvas_scale(600, 800, None) == 1.0
    assert canvas_scale(3000, 4000, None) == pytest.approx(4 * 288 / 4000)


def test_what_the_configuration_says_is_taken() -> None:
    table = InputTable(width=128, height=64, tiles=(2, 3), overlap="16px")
    chosen = choose(table, version(), facts(4000, 3000, 5)).preprocess
    assert chosen.canvas == (2 * 64 - 16, 3 * 128 - 2 * 16)


def test_the_light_that_is_expected_leaves_room_for_drift_and_none_for_a_closed_lens() -> None:
    low, high = choose(InputTable(), version(), facts(256, 256, 9)).schema.grey_range
    assert low == pytest.approx(25.0)
    assert high == pytest.approx(230.0)


def test_frames_of_16_bits_are_levelled_as_the_configuration_says() -> None:
    table = InputTable(levels=(200, 4095))
    found = choose(table, version(depth=16), facts(256, 256, 9))
    assert found.preprocess.levels == (200, 4095)
    assert found.schema.depth == 16


def test_classes_are_those_of_images_and_of_regions() -> None:
    region = Region(label="crack", box=(0, 0, 2, 2), exact=True)
    assert classes(version(regions=(region,))) == ["crack", "dent"]
