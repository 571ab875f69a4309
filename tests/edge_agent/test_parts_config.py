"""[part], [[cameras]] and [recipes]: which views a configuration makes, and what does not fit together."""

from pathlib import Path

import pytest

from edge_agent.box.probes import unknown_recipes
from edge_agent.config import StationConfig, load_config
from edge_agent.views import View
from fleet_contract.errors import ConfigError
from tests.edge_agent.test_config import MINIMAL, write

TOP = 'kind = "gige"\naddress = "10.0.0.2"\ncamera = "top"'
SIDE = '[[cameras]]\nkind = "v4l2"\ncamera = "side"'
MODBUS = '[trigger]\nkind = "modbus"\nhost = "x"\ncoil = 1\nrecipe_register = 1'
HTTP = '[trigger]\nkind = "http"\nport = 8601'


def station(folder: Path, source: str, *tables: str) -> StationConfig:
    head = MINIMAL.partition("[source]")[0]
    return load_config(write(folder, "\n".join([f"{head}[source]\n{source}", *tables])))


def test_without_a_word_a_part_is_one_frame_of_the_camera(tmp_path: Path) -> None:
    plan = station(tmp_path, TOP).plan
    assert (plan.views, plan.rule, plan.needed) == ((View("top", "top"),), "any_rejects", 1)


def test_views_are_named_by_camera_and_by_number_where_it_gives_several(tmp_path: Path) -> None:
    one_each = station(tmp_path, TOP, SIDE, HTTP, '[part]\nrecipes = { side = "edge" }').plan
    assert one_each.views == (View("top", "top"), View("side", "side", "edge"))
    two_each = station(tmp_path, TOP, SIDE, HTTP, "[part]\nframes = 2\nviews_needed = 3").plan
    assert [view.name for view in two_each.views] == ["top.1", "top.2", "side.1", "side.2"]
    assert [view.camera for view in two_each.views] == ["top", "top", "side", "side"]
    assert (two_each.needed, two_each.several) == (3, True)


FOLDER = 'kind = "folder"\npath = "x"\ncamera = "top"'


@pytest.mark.parametrize(
    ("source", "tables", "hint"),
    [
        (TOP, [SIDE], "part: several cameras make one part by a trigger to all"),
        (TOP, [SIDE.replace("side", "top"), HTTP], "cameras: a camera of its own name for each"),
        (FOLDER, [SIDE], "cameras: no further camera: a folder source is alone"),
        (TOP, ['[[cameras]]\nkind = "folder"\npath = "x"', HTTP], "cameras"),
        (TOP, ["[part]\nframes = 2"], "part: one frame: in free run"),
        ('kind = "push"\nport = 0', ["[part]\nframes = 2"], "part: one frame: each image"),
        (TOP, [HTTP, "[part]\nframes = 9"], "part: no more frames than may wait: set queue of top"),
        (TOP, [HTTP, '[part]\nframes = 3\nspacing = "250ms"'], "part: frames that come before"),
        (FOLDER, ["[part]\nframes = 3"], "the last comes 0.5 s after it"),
        (TOP, [HTTP, "[part]\nviews_needed = 2"], "part: views_needed of at most 1"),
        (TOP, [HTTP, '[part]\nrecipes = { side = "x" }'], "part: recipes of views: top; found side"),
        (TOP, [HTTP, '[part]\nrule = "best"'], "part.rule"),
        (TOP, [HTTP, "[part]\nframe = 2"], "Did you mean frames?"),
        (TOP, ["[recipes.steel.controls.top]\ngain = 2"], "recipes: a trigger that can carry"),
        (
            'kind = "mjpeg"\nurl = "http://x/"\ncamera = "top"',
            [HTTP, "[recipes.steel.controls.top]\ngain = 2"],
            "recipes: controls of cameras that have some (none here); recipe steel sets top",
        ),
        (TOP, [HTTP, "[recipes.steel]\nskip = 2"], "recipes.steel.controls is missing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_said(
    tmp_path: Path, source: str, tables: list[str], hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        station(tmp_path, source, *tables)
    assert hint in str(caught.value)


@pytest.mark.parametrize("trigger", [HTTP, '[trigger]\nkind = "camera"'])
def test_several_frames_fit_a_signal_and_the_cameras_own_input(
    tmp_path: Path, trigger: str
) -> None:
    assert len(station(tmp_path, TOP, trigger, "[part]\nframes = 4").plan.views) == 4


def test_files_may_be_several_frames_of_a_part(tmp_path: Path) -> None:
    quick = f'{FOLDER}\nrate = "100Hz"'
    assert len(station(tmp_path, quick, "[part]\nframes = 32").plan.views) == 32


@pytest.mark.parametrize(
    ("tables", "wanted"),
    [
        ([SIDE, HTTP, '[part]\nrecipes = { side = "edge" }'], ["edge"]),
        ([SIDE, f'{MODBUS}\nrecipes = {{ 1 = "steel" }}'], ["steel"]),
        (
            [SIDE, HTTP, '[part]\nrecipes = { side = "edge" }', "[recipes.steel.controls.top]\ngain = 2"],
            ["steel", "steel.edge"],
        ),
        ([SIDE, HTTP], []),
    ],
)  # fmt: skip
def test_what_the_bundle_must_know_follows_from_triggers_and_views(
    tmp_path: Path, tables: list[str], wanted: list[str]
) -> None:
    made = station(tmp_path, TOP, *tables)
    assert unknown_recipes(made, ()) == wanted
    assert unknown_recipes(made, wanted) == []
