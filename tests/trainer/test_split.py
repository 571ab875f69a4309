"""Sides: by part, by class and slice, frozen along the parents of a version."""

import hashlib
import logging
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_contract.errors import DataError, StateError
from trainer.data.lineage import split_again
from trainer.data.split import choose_groups, group_labels, group_traits
from trainer.data.store import Store


def item(number: int, label: str = "good", split: str = "train", **fields: object) -> DatasetItem:
    """An image of part `p<number>`, whose bytes are its number."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return DatasetItem.model_validate(
        {"sha256": digest, "label": label, "group": f"p{number}", "split": split,
         "source": f"{number}.png", **fields}
    )  # fmt: skip


def version(items: list[DatasetItem], parent: DatasetVersion | None = None) -> DatasetVersion:
    return DatasetVersion(line="discs", reason="test", channels=1, items=items,
                          parent=parent.digest() if parent else None)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "store")
    for number in range(40):
        opened.put(str(number).encode())
    return opened


def test_a_part_stands_under_its_rarest_defect() -> None:
    pairs = [("a", "good"), ("a", "dent"), ("b", "dent"), ("b", "crack"), ("c", "good")]
    assert group_labels(pairs) == {"a": "dent", "b": "crack", "c": "good"}


def test_a_column_that_names_images_is_no_slice() -> None:
    pairs = [(f"p{n}", {"camera": "ab"[n % 2], "time": str(n), "site": "x"}) for n in range(60)]
    assert set().union(*group_traits(pairs).values()) == {"camera=a", "camera=b"}


@given(
    sizes=st.lists(st.integers(2, 30), min_size=1, max_size=4),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_every_class_is_on_both_sides(sizes: list[int], share: float, seed: int) -> None:
    labels = {f"{kind}-{n}": f"c{kind}" for kind, size in enumerate(sizes) for n in range(size)}
    held = Counter(labels[group] for group in choose_groups(labels, share, seed))
    for kind, size in enumerate(sizes):
        assert held[f"c{kind}"] == min(max(round(share * size), 1), size - 1)


def test_every_slice_of_a_class_is_held_out_in_its_share() -> None:
    labels = {f"p{n}": "dent" if n % 4 == 0 else "good" for n in range(240)}
    traits = {f"p{n}": frozenset({f"camera={n % 3}", f"site={n % 5}"}) for n in range(240)}
    chosen = choose_groups(labels, 0.3, 1, traits=traits)
    for label, size in (("good", 180), ("dent", 60)):
        held = [group for group in chosen if labels[group] == label]
        assert len(held) == size * 0.3
        counts = Counter(trait for group in held for trait in traits[group])
        for trait, count in counts.items():
            expected = size * 0.3 / (3 if trait.startswith("camera") else 5)
            assert abs(count - expected) <= 2, (label, trait)
        assert len(counts) == 8


def test_slices_that_no_two_parts_share_alike_are_still_balanced() -> None:
    labels = {f"p{n}": "good" for n in range(60)}
    traits = {f"p{n}": frozenset(f"bit{b}={n >> b & 1}" for b in range(6)) for n in range(60)}
    chosen = choose_groups(labels, 0.5, 0, traits=traits)
    assert len(chosen) == 30
    counts = Counter(trait for group in chosen for trait in traits[group])
    whole = Counter(trait for kinds in traits.values() for trait in kinds)
    assert all(abs(counts[trait] - count / 2) <= 1.5 for trait, count in whole.items())


@pytest.mark.parametrize("seed", range(5))
def test_new_parts_move_hardly_any_other(seed: int) -> None:
    labels = {f"p{n}": "dent" if n % 3 == 0 else "good" for n in range(90)}
    traits = {group: frozenset({f"camera={int(group[1:]) % 4}"}) for group in labels}
    before = choose_groups(labels, 0.3, seed, traits=traits)
    more = {**labels, "new-1": "good", "new-2": "dent"}
    shows = {**traits, "new-1": frozenset({"camera=1"}), "new-2": frozenset({"camera=2"})}
    after = choose_groups(more, 0.3, seed, traits=shows)
    assert len((before ^ after) - {"new-1", "new-2"}) <= 4


def test_the_order_in_which_parts_come_changes_nothing() -> None:
    labels = {f"p{n}": "dent" if n % 3 == 0 else "good" for n in range(30)}
    turned = dict(reversed(labels.items()))
    assert choose_groups(labels, 0.3, 4) == choose_groups(turned, 0.3, 4)
    assert choose_groups(labels, 0.3, 4) != choose_groups(labels, 0.3, 5)


def test_parts_that_have_a_side_keep_it() -> None:
    labels = {f"p{n}": "good" for n in range(20)}
    held, trained = frozenset({"p1", "p2"}), frozenset({"p3", "p4", "p5"})
    chosen = choose_groups(labels, 0.5, 0, held=held, trained=trained)
    assert held <= chosen
    assert not trained & chosen
    assert len(chosen) == 10


def test_the_only_part_of_a_defect_is_trained_on_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    labels = {"a": "good", "b": "good", "c": "dent"}
    with caplog.at_level(logging.WARNING):
        assert "c" not in choose_groups(labels, 0.5, 0)
    assert "'dent' has one part only" in caplog.text


def test_one_good_part_is_refused() -> None:
    with pytest.raises(DataError, match="two good parts or more"):
        choose_groups({"a": "good", "b": "dent", "c": "dent"}, 0.5, 0)


def test_a_held_out_image_is_never_trained_on_later(store: Store) -> None:
    first = version([item(n, split="holdout" if n < 5 else "train") for n in range(20)])
    store.put_version(first)
    moved = version([item(n) for n in range(20)], parent=first)
    with pytest.raises(DataError, match=r"5 images would be trained on.* 0\.png, 1\.png"):
        store.put_version(moved)


def test_a_held_out_image_that_was_left_out_does_not_come_back_for_training(store: Store) -> None:
    first = version([item(n, split="holdout" if n < 5 else "train") for n in range(20)])
    without = version([item(n) for n in range(5, 20)], parent=first)
    again = version([item(n) for n in range(20)], parent=without)
    store.put_version(first)
    store.put_version(without)
    with pytest.raises(DataError, match="5 images would be trained on"):
        store.put_version(again)


def test_another_image_of_a_held_out_part_is_not_trained_on(store: Store) -> None:
    first = version([item(n, split="holdout" if n < 5 else "train") for n in range(20)])
    store.put_version(first)
    grown = version([*first.items[5:], item(30, group="p0")], parent=first)
    with pytest.raises(DataError, match="1 images would be trained on"):
        store.put_version(grown)


def test_a_version_grows_while_the_parts_keep_their_side(store: Store) -> None:
    first = version([item(n, split="holdout" if n < 5 else "train") for n in range(20)])
    store.put_version(first)
    grown = first.extend([item(30, split="holdout"), item(31)], "two more")
    assert store.put_version(grown) == grown.digest()


def test_a_version_without_a_holdout_is_split_freely(store: Store) -> None:
    first = version([item(n, "dent" if n % 4 == 0 else "good") for n in range(20)])
    store.put_version(first)
    made = split_again(first, store.find, share=0.3, seed=1)
    store.put_version(made)
    assert made.parent == first.digest()
    assert len(made.side("holdout")) == 6
    assert made == split_again(first, store.find, share=0.3, seed=1)


def test_a_frozen_holdout_is_not_split_again_without_a_reason(store: Store) -> None:
    first = version([item(n) for n in range(20)])
    store.put_version(first)
    made = split_again(first, store.find, share=0.3, seed=1)
    store.put_version(made)
    with pytest.raises(StateError, match="frozen: 6 images"):
        split_again(made, store.find, share=0.3, seed=2)


def test_a_thawed_holdout_says_why_and_is_frozen_anew(store: Store) -> None:
    first = version([item(n, split="holdout" if n < 5 else "train") for n in range(20)])
    store.put_version(first)
    made = split_again(first, store.find, share=0.3, seed=2, thaw="labels were wrong")
    assert store.version(store.put_version(made)).thawed == "labels were wrong"
    assert made.side("holdout") != first.side("holdout")
    # What the old holdout was is training now; what the new one is stays.
    store.put_version(made.extend([item(30)], "one more"))
    moved = version([item(n) for n in range(20)], parent=made)
    with pytest.raises(DataError, match="6 images would be trained on"):
        store.put_version(moved)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_a_share_that_is_none_is_refused(store: Store, share: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        split_again(version([item(0)]), store.find, share=share, seed=0)


def test_a_version_that_froze_its_holdout_keeps_its_digest() -> None:
    # Digests of versions made before the field stay what they were.
    assert b"thawed" not in version([item(0)]).canonical()
