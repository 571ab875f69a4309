"""Pictures of one part are found, whatever the light; others are left apart."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.trainer.versions import picture
from trainer.data.duplicates import Pair, clusters, embed, near_pairs, propose_groups
from trainer.data.scan import thumbnail


def lights(number: int, *gains: float) -> list[NDArray[np.uint8]]:
    """The part under several lights, with noise of each shot's own."""
    rng = np.random.default_rng(number)
    return [
        (picture(number) * gain + 8 + rng.normal(0, 2, (64, 64))).clip(0, 255).astype(np.uint8)
        for gain in gains
    ]


def test_the_same_part_is_found_under_every_light() -> None:
    shots = [shot for number in range(20) for shot in lights(number, 0.6, 1.0, 1.2)]
    names = propose_groups(shots)
    assert len(set(names)) == 20
    assert all(len(set(names[3 * part : 3 * part + 3])) == 1 for part in range(20))


def test_parts_that_share_a_fixture_are_told_apart() -> None:
    # Their plain thumbnails are nearly the same.
    shots = [picture(number) for number in range(40)]
    plain = np.stack([thumbnail(shot).reshape(-1) for shot in shots])
    plain -= plain.mean(axis=1, keepdims=True)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    assert np.median(plain @ plain.T) > 0.8
    assert len(set(propose_groups(shots))) == 40


def test_two_shots_are_enough_to_be_compared() -> None:
    assert len(set(propose_groups(lights(1, 0.7, 1.1)))) == 1
    assert len(set(propose_groups([picture(1), picture(2)]))) == 2


def test_names_come_from_the_pictures_alone() -> None:
    shots = [picture(number) for number in range(12)]
    turned = propose_groups(list(reversed(shots)))
    assert propose_groups(shots) == list(reversed(turned))


def test_depth_colour_and_size_do_not_matter() -> None:
    shots: list[NDArray[np.generic]] = [picture(number) for number in range(12)]
    deep = shots[3].astype(np.uint16) << 8
    colour = np.repeat(shots[4][..., None], 3, axis=2)
    large = np.kron(shots[5], np.ones((4, 4), np.uint8))
    names = propose_groups([*shots, deep, colour, large])
    assert names[12:] == names[3:6]


def test_a_new_image_joins_the_part_that_is_known() -> None:
    shots = [*(picture(number) for number in range(12)), *lights(3, 0.8, 0.6), picture(50)]
    known = [*(f"part {number}" for number in range(12)), None, None, None]
    names = propose_groups(shots, known)
    assert names[:14] == [*known[:12], "part 3", "part 3"]
    assert str(names[14]).startswith("like-")


def test_known_parts_are_never_joined() -> None:
    shots = [*(picture(number) for number in range(12)), *lights(3, 0.8)]
    known = [f"part {number}" for number in range(13)]
    assert propose_groups(shots, known) == known


def test_pairs_are_tied_through_others() -> None:
    pairs = [Pair(0, 3, 0.9), Pair(3, 4, 0.8), Pair(1, 2, 0.8)]
    assert clusters(6, pairs) == [0, 1, 1, 0, 0, 5]


def test_pairs_come_with_the_most_alike_first() -> None:
    embedded = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    pairs = near_pairs(embedded, 0.75)
    assert [(pair.first, pair.second) for pair in pairs] == [(1, 2), (0, 1), (2, 3)]
    assert pairs[0].likeness == pytest.approx(0.96)


def test_blank_pictures_are_like_nothing() -> None:
    blank = [np.full((16, 16), level, np.float32) for level in (0, 90, 90)]
    assert near_pairs(embed([*blank, thumbnail(picture(1)), thumbnail(picture(2))])) == []
    assert near_pairs(embed(blank)) == []


def test_no_picture_gives_no_name() -> None:
    assert propose_groups([]) == []
