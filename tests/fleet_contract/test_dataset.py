import pytest
from pydantic import ValidationError

from fleet_contract.dataset import DatasetItem, DatasetVersion, parse_version
from fleet_contract.errors import DataError


def _item(n: int, split: str = "train", group: str = "") -> DatasetItem:
    return DatasetItem.model_validate(
        {"sha256": f"{n:064x}", "label": "good", "group": group or f"g{n}", "split": split}
    )


def _version(*items: DatasetItem) -> DatasetVersion:
    return DatasetVersion(line="line", reason="test", channels=3, items=list(items))


def test_the_order_of_items_does_not_change_the_digest() -> None:
    assert _version(_item(1), _item(2)).digest() == _version(_item(2), _item(1)).digest()


def test_a_part_on_both_sides_is_refused() -> None:
    with pytest.raises(ValidationError, match="both sides"):
        _version(_item(1, "train", "p"), _item(2, "holdout", "p"))


def test_an_extended_version_names_its_parent_and_keeps_the_old_one() -> None:
    old = _version(_item(1))
    before = old.digest()
    new = old.extend([_item(1), _item(2, "holdout")], "incident 1")
    assert new.parent == before == old.digest()
    assert [item.sha256 for item in new.items] == [f"{n:064x}" for n in (1, 2)]


def test_an_extension_that_moves_a_part_into_the_holdout_is_refused() -> None:
    with pytest.raises(DataError, match="both sides"):
        _version(_item(1, group="p")).extend([_item(2, "holdout", "p")], "x")


def test_a_version_round_trips_by_its_canonical_form() -> None:
    version = _version(_item(1), _item(2, "holdout"))
    assert parse_version(version.canonical()).digest() == version.digest()


def test_broken_json_is_a_data_error() -> None:
    with pytest.raises(DataError):
        parse_version(b"{")
