"""Bundles that must not get through, made from a good one: `loupe-hil bad-bundle`."""

import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fleet_contract import archive as archives
from fleet_contract.errors import BundleError
from fleet_contract.inference.model import BundleModel
from fleet_contract.inference.preprocess import decode_image
from fleet_contract.manifest import GoldenSample, Manifest
from hil.story.crash import crashing_models

_SWAPPED = {"rgb": "bgr", "bgr": "rgb"}


class Kind(StrEnum):
    """What is wrong with the bundle."""

    SWAPPED = "swapped"
    SWAPPED_GOLDEN_ANEW = "swapped-golden-anew"
    CRASHING = "crashing"
    RETUNED = "retuned"


def bad_bundle(
    kind: Annotated[Kind, typer.Argument(help="What is wrong; retuned: nothing, a new threshold.")],
    good: Annotated[Path, typer.Argument(help="A good bundle's archive.")],
    out: Annotated[Path, typer.Argument(help="Where the other one goes.")],
) -> None:
    """Make a bundle that rigs expect to be stopped, out of a good one."""
    try:
        archive = good.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{good} cannot be read: {error.strerror}", expected="a bundle's archive, .tar"
        ) from error
    out.write_bytes(MAKERS[kind](archive))


def swapped_channels(archive: bytes, *, golden_anew: bool) -> bytes:
    """The bundle with its channel order reversed, as a wrong camera driver's author would pack it.

    `golden_anew`: the golden samples' verdicts and scores are computed with the wrong order too, so
    that no self-test can know.
    """
    manifest, files = archives.read(archive)
    order = _SWAPPED[manifest.preprocess.channel_order]
    wrong = manifest.preprocess.model_copy(update={"channel_order": order})
    changed = manifest.model_copy(update={"preprocess": wrong})
    if golden_anew:
        with tempfile.TemporaryDirectory() as folder:
            unpacked = Path(folder) / "bundle"
            archives.unpack(archives.pack(changed, files), unpacked)
            changed = changed.model_copy(update={"golden": _judge_anew(changed, unpacked)})
    return archives.pack(changed, files)


def _judge_anew(manifest: Manifest, folder: Path) -> list[GoldenSample]:
    models = [
        BundleModel(folder, manifest, file.runtime, file.precision) for file in manifest.models
    ]
    samples = []
    for sample in manifest.golden:
        frame = decode_image((folder / sample.file).read_bytes(), manifest.input.channels)
        judgements = {model.key: model.judge(frame) for model in models}
        verdicts = {judgement.verdict for judgement in judgements.values()}
        if len(verdicts) == 1:
            scores = {key: judgement.score for key, judgement in judgements.items()}
            samples.append(sample.model_copy(update={"verdict": verdicts.pop(), "scores": scores}))
    return samples


def with_models(archive: bytes, models: dict[str, bytes]) -> bytes:
    """The bundle with the files of its models replaced, by `runtime` (`onnx`, `litert`)."""
    manifest, files = archives.read(archive)
    for file in manifest.models:
        files[file.file] = models[str(file.runtime)]
    changed = manifest.model_copy(update={"files": archives.file_entries(files)})
    return archives.pack(changed, files)


def retuned(archive: bytes, by: float) -> bytes:
    """The bundle with its threshold moved by `by`: a good release of its own."""
    manifest, files = archives.read(archive)
    threshold = min(max(manifest.decision.threshold + by, 0.0), 1.0)
    decision = manifest.decision.model_copy(update={"threshold": threshold})
    return archives.pack(manifest.model_copy(update={"decision": decision}), files)


MAKERS: dict[Kind, Callable[[bytes], bytes]] = {
    Kind.SWAPPED: lambda archive: swapped_channels(archive, golden_anew=False),
    Kind.SWAPPED_GOLDEN_ANEW: lambda archive: swapped_channels(archive, golden_anew=True),
    Kind.CRASHING: lambda archive: with_models(archive, crashing_models()),
    Kind.RETUNED: lambda archive: retuned(archive, 0.01),
}
"""How each kind is made."""
