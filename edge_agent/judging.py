"""One view before one model: its word, or why there is none."""

import logging
from collections.abc import Callable

from edge_agent.canary import TooLate
from edge_agent.loaded import FAILURES
from edge_agent.looks import Look
from edge_agent.source.base import Captured
from edge_agent.views import Plan
from fleet_contract.clock import Clock
from fleet_contract.errors import DataError, UnknownRecipe
from fleet_contract.inference.model import Judgement
from fleet_contract.inference.preprocess import Frame

log = logging.getLogger(__name__)

Judging = Callable[[Frame, str, float | None], Judgement]
LATE = "deadline"
"""Reason of a part without a verdict in time."""


def look_at(judge: Judging | None, captured: Captured, plan: Plan, clock: Clock) -> Look:
    """The view with the model's word; `judge` is None where no model is ready."""
    began_s = clock.monotonic()
    recipe = plan.recipe(captured.view, captured.recipe)
    scale = plan.views[captured.view].mm_per_pixel
    judgement, reason, fault = _word(judge, captured, recipe, scale)
    return Look(captured, recipe, judgement, reason, fault, began_s, clock.monotonic())


def is_silent(look: Look) -> bool:
    """Whether there was a picture, and no word on it."""
    return look.captured.frame is not None and look.judgement is None


def _word(
    judge: Judging | None, captured: Captured, recipe: str, scale: float | None
) -> tuple[Judgement | None, str, bool]:
    """Judgement, or the reason why there is none and whether it is the runtime's fault."""
    if captured.frame is None:
        return None, captured.reason, False
    if judge is None:
        return None, "model_not_ready", False
    try:
        return judge(captured.frame, recipe, scale), "", False
    except TooLate:
        return None, LATE, False
    except UnknownRecipe:
        return None, "unknown_recipe", False
    except DataError:
        return None, "frame_schema", False
    except FAILURES as error:
        log.error("the model failed on trigger %d: %s", captured.trigger, error)
        return None, "runtime", True
