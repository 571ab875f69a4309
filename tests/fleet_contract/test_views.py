"""Tiling: what a graph sees of a frame, and how its maps become one again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_contract.inference.preprocess import preprocess
from fleet_contract.inference.views import corners, stitch, views
from fleet_contract.manifest import Preprocess, Tiling


def tiled(rows: int, columns: int, overlap: int, *, whole: bool = True) -> Preprocess:
    tiling = Tiling(rows=rows, columns=columns, overlap=overlap, whole=whole)
    return Preprocess(height=64, width=96, channel_order="grey", tiling=tiling)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, 8, 32]))
def test_tiles_cover_the_canvas_exactly(rows: int, columns: int, overlap: int) -> None:
    spec = tiled(rows, columns, overlap)
    covered = np.zeros(spec.canvas, int)
    for top, left in corners(spec):
        assert covered[top : top + 64, left : left + 96].shape == (64, 96)
        covered[top : top + 64, left : left + 96] += 1
    assert covered.min() >= 1


def test_a_frame_of_any_size_becomes_all_tiles_and_the_whole() -> None:
    spec = tiled(2, 3, 16)
    canvas = preprocess(np.full((123, 457), 9, np.uint8), spec)
    seen = views(canvas, spec)
    assert len(seen) == 2 * 3 + 1
    assert {view.shape for view in seen} == {(64, 96, 1)}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([0, 16]), st.booleans())
def test_a_place_of_the_frame_keeps_its_place_in_the_stitched_map(
    rows: int, columns: int, overlap: int, whole: bool
) -> None:
    spec = tiled(rows, columns, overlap, whole=whole)
    high, wide = spec.canvas
    canvas = np.zeros((high, wide, 1), np.uint8)
    canvas[high // 2 : high // 2 + 8, wide // 3 : wide // 3 + 8] = 255
    maps = [view[::4, ::4, 0].astype(np.float32) for view in views(canvas, spec)]
    stitched = stitch(maps, spec)
    assert stitched.shape == (high // 4, wide // 4)
    tiles = canvas[::4, ::4, 0] > 0
    assert (stitched[tiles] == 255).all()
    if not whole:
        assert (stitched[~tiles] == 0).all()


def test_maps_of_classes_are_stitched_like_masks() -> None:
    spec = tiled(1, 2, 32)
    maps = [np.full((3, 16, 24), float(index), np.float32) for index in range(3)]
    assert stitch(maps, spec).shape == (3, 16, 40)


def test_without_tiles_the_frame_is_the_one_view() -> None:
    spec = Preprocess(height=64, width=96, channel_order="grey")
    canvas = preprocess(np.zeros((20, 20), np.uint8), spec)
    assert [view.shape for view in views(canvas, spec)] == [(64, 96, 1)]
    assert spec.canvas == (64, 96)


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (1000, 0), (2500, 128), (4000, 255), (65535, 255)]
)
def test_frames_of_16_bits_are_levelled_before_anything_else(value: int, expected: int) -> None:
    spec = Preprocess(height=8, width=8, channel_order="grey", levels=(1000, 4000))
    pixels = preprocess(np.full((16, 16), value, np.uint16), spec)
    assert pixels.dtype == np.uint8
    assert set(np.unique(pixels)) == {expected}
