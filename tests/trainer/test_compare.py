"""Champion against challenger."""

import numpy as np
import pytest

from trainer.compare import Side, compare, decide

TRUTH = np.array([False] * 30 + [True] * 30)
GROUPS = [f"p{n}" for n in range(60)]


def side(good: float, bad: float, spread: float = 0.1, seed: int = 0) -> Side:
    """Scores around `good` and `bad`, judged at one half."""
    rng = np.random.default_rng(seed)
    scores = np.where(TRUTH, bad, good) + rng.normal(0, spread, 60)
    return Side(scores, scores >= 0.5)


def test_a_challenger_that_separates_what_the_champion_mixes_up_is_better() -> None:
    result = compare(side(0.45, 0.55, 0.2), side(0.1, 0.9), TRUTH, GROUPS)
    assert result["outcome"] == "better"
    assert result["auroc"]["low"] > 0
    assert result["verdicts"]["challenger_right"] > result["verdicts"]["champion_right"]


def test_the_other_way_round_it_is_worse() -> None:
    assert compare(side(0.1, 0.9), side(0.45, 0.55, 0.2), TRUTH, GROUPS)["outcome"] == "worse"


def test_the_same_bundle_is_not_worse_than_itself() -> None:
    result = compare(side(0.3, 0.7), side(0.3, 0.7), TRUTH, GROUPS)
    assert result["outcome"] == "not_worse"
    assert result["auroc"]["difference"] == 0.0
    assert result["verdicts"]["p_value"] == 1.0


def test_few_parts_leave_it_undecided() -> None:
    few = np.array([False] * 4 + [True] * 4)
    groups = [f"p{n}" for n in range(8)]
    champion = np.array([0.1, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8, 0.9])
    challenger = np.array([0.1, 0.2, 0.65, 0.3, 0.6, 0.7, 0.5, 0.9])
    result = compare(
        Side(champion, champion >= 0.5), Side(challenger, challenger >= 0.5), few, groups
    )
    assert result["outcome"] == "undecided"


def test_one_defective_part_says_nothing_of_the_ranking() -> None:
    few = np.array([False] * 4 + [True])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.9])
    one, other = Side(scores, scores >= 0.5), Side(scores[::-1], scores[::-1] >= 0.5)
    result = compare(one, other, few, [f"p{n}" for n in range(5)])
    assert (result["auroc"]["low"], result["auroc"]["high"]) == (-1.0, 1.0)
    assert result["outcome"] == "undecided"


def test_many_images_of_one_part_are_one_verdict() -> None:
    # Ten images of one part, all right with the challenger only: one part gained, not ten.
    groups = [*GROUPS[:-10], *["same"] * 10]
    champion, challenger = side(0.1, 0.9), side(0.1, 0.9)
    champion.rejected[-10:] = False
    result = compare(champion, challenger, TRUTH, groups)
    assert result["verdicts"]["challenger_right"] == 1
    assert result["verdicts"]["p_value"] == 1.0


def test_no_decision_is_never_right_and_ranks_nowhere() -> None:
    champion, challenger = side(0.1, 0.9), side(0.1, 0.9)
    challenger.scores[:8], challenger.rejected[:8] = np.nan, False
    result = compare(champion, challenger, TRUTH, GROUPS)
    assert result["no_decision"] == {"champion": 0, "challenger": 8}
    assert result["verdicts"]["champion_right"] == 8
    assert result["outcome"] == "worse"
    assert result["auroc"]["difference"] == 0.0


def test_the_comparison_repeats_itself() -> None:
    sides = side(0.4, 0.6), side(0.35, 0.65, seed=1)
    assert compare(*sides, TRUTH, GROUPS) == compare(*sides, TRUTH, GROUPS)


@pytest.mark.parametrize(
    ("numbers", "outcome"),
    [
        ((0.0, -0.01, 0.01, 9, 0, 0.004), "better"),
        ((0.0, -0.01, 0.01, 0, 9, 0.004), "worse"),
        ((0.05, 0.01, 0.09, 3, 1, 0.6), "better"),
        ((-0.05, -0.09, -0.01, 3, 1, 0.6), "worse"),
        ((0.05, 0.01, 0.09, 0, 9, 0.004), "worse"),
        ((0.0, -0.015, 0.01, 1, 1, 1.0), "not_worse"),
        ((0.0, -0.05, 0.05, 1, 1, 1.0), "undecided"),
    ],
)
def test_the_outcome_follows_from_the_numbers(
    numbers: tuple[float, float, float, int, int, float], outcome: str
) -> None:
    assert decide(*numbers)[0] == outcome
