from collections.abc import Callable
from pathlib import Path

import pytest

from fleet_contract.reference import PAGES

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize(("name", "page"), PAGES.items(), ids=list(PAGES))
def test_a_reference_page_says_what_the_code_says(name: str, page: Callable[[], str]) -> None:
    assert (FOLDER / name).read_text() == page(), (
        "run `python -m fleet_contract.reference docs/reference`"
    )
