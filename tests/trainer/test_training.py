"""The training loop: budget, seed, what it learns from, how it fails."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fleet_contract.clock import ManualClock
from fleet_contract.dataset import DatasetVersion
from fleet_contract.errors import BundleError
from tests.trainer.conftest import CONFIG
from trainer.augment import Batches
from trainer.calibrate import calibrate, logits
from trainer.config import AugmentTable, TrainerConfig, parse_config
from trainer.data.images import Images, load_images
from trainer.data.store import Store
from trainer.losses import locate_loss
from trainer.measures import auroc
from trainer.network import STRIDE, InspectionNet
from trainer.training import Budget, Progress, TrainingError, train
from trainer.weights import load_weights, pack_weights


def short(epochs: int, **changes: object) -> TrainerConfig:
    """The test's configuration with fewer epochs."""
    config = parse_config(CONFIG, "test")
    return config.model_copy(
        update={"train": config.train.model_copy(update={"epochs": epochs, **changes})}
    )


@pytest.fixture(scope="module")
def images(stored: tuple[Store, DatasetVersion]) -> Images:
    store, version = stored
    return load_images(store, version.side("train"), parse_config(CONFIG, "x").preprocess())


def weights(model: InspectionNet) -> torch.Tensor:
    return torch.cat([value.reshape(-1).float() for value in model.state_dict().values()])


def test_the_same_seed_and_steps_give_the_same_weights(images: Images) -> None:
    made = [train(images, short(1, seed=s), ManualClock(), lambda _p: False) for s in (3, 3, 4)]
    assert torch.equal(weights(made[0]), weights(made[1]))
    assert not torch.equal(weights(made[0]), weights(made[2]))


def test_training_goes_on_from_earlier_weights(images: Images) -> None:
    first = train(images, short(20), ManualClock(), lambda _p: False)
    cold = train(images, short(1, seed=9), ManualClock(), lambda _p: False)
    warm = train(images, short(1, seed=9), ManualClock(), lambda _p: False, pack_weights(first))
    found = [auroc(logits(model, images.pixels), images.defective) or 0.0 for model in (cold, warm)]
    assert found[1] > max(0.9, found[0])


def test_weights_of_another_network_are_left_alone() -> None:
    model, other = InspectionNet(3, 0.25), InspectionNet(1, 0.25)
    before = weights(model).clone()
    assert not load_weights(model, pack_weights(other))
    assert torch.equal(weights(model), before)
    assert load_weights(model, pack_weights(InspectionNet(3, 0.25)))


def test_bytes_that_are_no_weights_are_refused() -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        load_weights(InspectionNet(3, 0.25), b"PK no weights")


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


def test_labels_alone_train_a_model_too(images: Images) -> None:
    bare = replace(images, masked=~images.defective, masks=np.zeros_like(images.masks))
    model = train(bare, short(25), ManualClock(), lambda _p: False)
    found = auroc(logits(model, images.pixels), images.defective)
    assert found is not None
    assert found > 0.8


def test_half_of_a_batch_is_good_and_defects_are_drawn_by_class(images: Images) -> None:
    batch = Batches(images, AugmentTable(shift="2px"), 64, 0).whole()
    assert batch.image.shape == (64, 3, 64, 64)
    assert batch.mask.shape == (64, 1, 64 // STRIDE, 64 // STRIDE)
    assert batch.label.sum() == 32


def test_crops_of_defective_parts_show_the_defect(images: Images) -> None:
    batch = Batches(images, AugmentTable(shift="0px"), 64, 0).crops(0.5)
    assert batch.image.shape[2:] == (32, 32)
    marked = batch.mask.flatten(1).any(dim=1)
    assert marked.sum() == 32
    assert torch.equal(marked.float(), batch.label[:, 0])


def test_augmentation_stays_within_pixel_values(images: Images) -> None:
    wild = AugmentTable(gain=(0.2, 3.0), offset=(-90.0, 90.0), noise=(0.0, 50.0), shift="4px", flip=True)  # fmt: skip
    image = Batches(images, wild, 32, 0).whole().image
    assert float(image.min()) == 0.0
    assert float(image.max()) == 255.0


def test_a_mask_that_is_right_costs_less_than_one_that_is_wrong(images: Images) -> None:
    batch = Batches(images, AugmentTable(shift="0px"), 16, 0).whole()
    right = (batch.mask * 2 - 1) * 8
    assert locate_loss(right, batch) < 0.1 < locate_loss(-right, batch)


def test_the_network_is_fully_convolutional_and_gives_one_score() -> None:
    model = InspectionNet(1, 0.25).eval()
    for height, width in ((64, 64), (96, 160)):
        score, mask = model(torch.zeros(2, 1, height, width))
        assert score.shape == (2, 1)
        assert mask.shape == (2, 1, height // STRIDE, width // STRIDE)


def test_after_calibration_held_out_good_parts_lie_below_one_half() -> None:
    model = InspectionNet(1, 0.25).eval()
    with torch.no_grad():
        model.decide.weight.mul_(1000)  # untrained, it says nearly the same of everything
    levels = np.linspace(20, 240, 24).reshape(-1, 1, 1, 1)
    pixels = np.broadcast_to(levels, (24, 64, 64, 1)).astype(np.uint8)
    promise = calibrate(model, logits(model, pixels), 0.02)
    moved = logits(model, pixels)
    assert moved.max() < 0
    assert moved.max() > -0.1
    assert float(np.median(moved)) == pytest.approx(-2.5, abs=0.1)
    assert promise.overkill_at_most == pytest.approx(1 / 25)
