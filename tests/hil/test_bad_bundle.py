"""Bad bundles are whole bundles: only what is meant to be wrong is wrong."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleet_contract import archive as archives
from fleet_contract.errors import BundleError
from hil.cli import app
from hil.story.bad_bundle import MAKERS, Kind
from tests.fleet_contract import bundles


@pytest.mark.parametrize("kind", [Kind.SWAPPED, Kind.RETUNED])
def test_a_bad_bundle_reads_as_a_bundle_of_its_own(kind: Kind) -> None:
    good = bundles.archive()
    bad = MAKERS[kind](good)
    archives.read(bad)
    assert archives.digest(bad) != archives.digest(good)


def test_swapped_channels_change_the_manifest_and_nothing_else() -> None:
    manifest, files = archives.read(MAKERS[Kind.SWAPPED](bundles.archive()))
    known, same = archives.read(bundles.archive())
    assert manifest.preprocess.channel_order == "bgr"
    assert files == same
    assert manifest.model_copy(update={"preprocess": known.preprocess}) == known


def test_a_crashing_bundle_carries_the_fatal_model_under_the_old_name() -> None:
    manifest, files = archives.read(MAKERS[Kind.CRASHING](bundles.archive()))
    assert files[manifest.models[0].file] != bundles.files()[manifest.models[0].file]


def test_a_missing_bundle_is_one_clear_message(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["bad-bundle", "swapped", str(tmp_path / "none.tar"), str(tmp_path / "out.tar")]
    )
    assert isinstance(result.exception, BundleError)
    assert "none.tar cannot be read" in str(result.exception)
