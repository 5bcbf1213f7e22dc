from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sweeper.backbones import Backbone, build_backbone
from sweeper.data import DeviceBatch
from sweeper.errors import ResourceError, TrialError
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import find_machine
from sweeper.trial.feed import Feed, Pending
from sweeper.trial.label_losses import CrossEntropy
from sweeper.trial.learner import Learner
from sweeper.trial.loop import train_epoch
from sweeper.trial.loss import Criterion

MakeConfig = Callable[..., TrialConfig]


TOO_LARGE = (
    r"One image must fit into the device's memory, but even a batch of `1` does not: \d+ of \d+ MiB are held without it; "
    r"lower `image_size` or freeze more stages\."
)


class FixedFeed(Feed):
    """The same batches in every epoch."""

    def __init__(self, batches: list[Pending]) -> None:
        self.batches = batches

    @property
    def batches_per_epoch(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, *, skip: int = 0) -> Generator[Pending, None, None]:
        yield from self.batches

    def validation(self) -> Iterator[Pending]:
        return iter(self.batches)

    def network(self, model: nn.Module) -> Callable[..., Tensor]:
        return model


def learner(config: TrialConfig, feed: list[Pending]) -> Learner:
    torch.manual_seed(0)
    backbone = build_backbone(config, num_classes=4, weights=None)
    backbone.freeze(config.train.freeze_depth)
    machine = find_machine("cpu", precision=config.train.precision)
    criterion = Criterion(CrossEntropy(config.train.label_smoothing))
    return Learner.start(backbone, config.train, feed=FixedFeed(feed), machine=machine, criterion=criterion)


def stream(*sizes: int, mixed: bool = False) -> list[DeviceBatch]:
    """One fixed stream of images, cut into batches of these sizes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (sum(sizes), 3, 32, 32), generator=generator) / 128.0 - 1.0
    targets = torch.randint(0, 4, (sum(sizes),), generator=generator)
    if mixed:
        shares = F.one_hot(targets, 4).float()
        targets = 0.7 * shares + 0.3 * shares.flip(0)
    parts = zip(torch.split(images, list(sizes)), torch.split(targets, list(sizes)), strict=True)
    return [DeviceBatch((part,), wanted) for part, wanted in parts]


def batches(*sizes: int, mixed: bool = False) -> list[Pending]:
    return [pending(batch) for batch in stream(*sizes, mixed=mixed)]


def pending(batch: DeviceBatch) -> Pending:
    return Pending(len(batch), np.arange(len(batch)), lambda: batch)


def weights(one: Learner) -> dict[str, Tensor]:
    return copy.deepcopy(one.backbone.model.state_dict())


def assert_close(one: Learner, other: Learner, *, atol: float = 1e-6) -> None:
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(other)[name], atol=atol, rtol=0.0, msg=name)


def refuse_more_than(limit: int, backbone: Backbone) -> None:
    """Makes the model run out of memory on more than `limit` images."""

    def check(_: object, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > limit:
            raise torch.OutOfMemoryError(f"more than {limit} images")

    backbone.model.register_forward_pre_hook(check)


# SGD and a norm that no gradient reaches: a gradient of the wrong size or direction then shows in the weights.
SGD = {"optimizer": "sgd", "lr": 0.1, "warmup_epochs": 0.0, "clip_grad": 100.0}


@pytest.mark.parametrize("mixed", [False, True], ids=["labels", "mixed labels"])
def test_two_accumulated_halves_make_the_same_step_as_the_whole(mixed: bool, make_config: MakeConfig) -> None:
    smooth = SGD | {"label_smoothing": 0.1, "epochs": 1}
    one, two = batches(32, mixed=mixed), batches(16, 16, mixed=mixed)
    whole = learner(make_config(backbone="test_vit", train=smooth | {"batch_size": 32}), one)
    halves = learner(make_config(backbone="test_vit", train=smooth | {"accumulate": 2, "batch_size": 16}), two)
    first, second = train_epoch(whole, one, epoch=1), train_epoch(halves, two, epoch=1)
    assert whole.step == halves.step == 1
    assert first.train_loss == pytest.approx(second.train_loss, rel=1e-5)
    assert_close(whole, halves)


def test_the_images_of_an_incomplete_last_window_weigh_the_same(make_config: MakeConfig) -> None:
    settings = SGD | {"accumulate": 4, "batch_size": 8, "epochs": 1}
    six = batches(8, 8, 8, 8, 8, 3)
    ours = learner(make_config(backbone="test_vit", train=settings), six)
    train_epoch(ours, six, epoch=1)

    by_hand = learner(make_config(backbone="test_vit", train=settings), six)
    by_hand.backbone.train()
    for step, batch in enumerate(stream(32, 11)):
        by_hand.schedule.apply(by_hand.optimizer, step=step)
        by_hand.optimizer.zero_grad()
        F.cross_entropy(by_hand.backbone.model(*batch.inputs), batch.targets).backward()  # type: ignore[no-untyped-call]
        by_hand.optimizer.step()
    assert ours.step == 2
    assert_close(ours, by_hand)


def test_the_mean_loss_counts_images_and_not_steps(make_config: MakeConfig) -> None:
    """With a learning rate of nearly nothing the loss of an epoch is that of the first weights."""
    still = SGD | {"lr": 1e-12, "min_lr": 0.0, "epochs": 1}
    three = batches(16, 16, 2)
    ours = learner(make_config(backbone="test_vit", train=still), three)
    trained = train_epoch(ours, three, epoch=1)
    (every,) = stream(34)
    with torch.no_grad():
        expected = F.cross_entropy(ours.backbone.model(*every.inputs), every.targets)
    assert trained.train_loss == pytest.approx(expected.item(), rel=1e-4)


def test_layer_decay_reaches_the_learning_rates_that_are_used(make_config: MakeConfig) -> None:
    settings = {"lr": 1e-3, "min_lr": 0.0, "layer_decay": 0.5, "head_lr_scale": 3.0, "warmup_epochs": 1.0, "epochs": 2}
    ours = learner(make_config(backbone="test_vit", train=settings), batches(8, 8, 8, 8))
    used: list[dict[str, float]] = []

    def look(*_: object) -> None:
        used.append({group["stage"]: group["lr"] for group in ours.optimizer.param_groups})

    ours.optimizer.register_step_pre_hook(look)
    trained = train_epoch(ours, batches(8, 8, 8, 8), epoch=1)
    stages = [stage.name for stage in ours.backbone.stages]
    scales = [0.5 ** (len(stages) - 1 - index) for index in range(len(stages) - 1)] + [3.0]
    for number, lr in ((0, 0.25e-3), (3, 1e-3)):
        assert list(used[number]) == stages
        assert list(used[number].values()) == pytest.approx([lr * scale for scale in scales])
    assert trained.lr == pytest.approx(3e-3)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit"])
def test_frozen_stages_do_not_move_and_the_others_do(backbone: str, make_config: MakeConfig) -> None:
    ours = learner(make_config(backbone=backbone, train={"freeze_depth": 2, "epochs": 1}), batches(8, 8))
    before = weights(ours)
    train_epoch(ours, batches(8, 8), epoch=1)
    after = weights(ours)
    for index, stage in enumerate(ours.backbone.stages):
        moved = [not torch.equal(before[name], after[name]) for name in stage.parameters]
        assert any(moved) is (index >= 2), stage.name
    buffers = {name for name in before if name not in dict(ours.backbone.model.named_parameters())}
    frozen = {name.rpartition(".")[0] for stage in ours.backbone.stages[:2] for name in stage.parameters}
    assert all(torch.equal(before[name], after[name]) for name in buffers if name.rpartition(".")[0] in frozen)


def test_clipping_bounds_the_norm_of_the_whole_gradient(make_config: MakeConfig) -> None:
    norms: list[float] = []
    for limit in (None, 1e-3):
        ours = learner(make_config(backbone="test_vit", train=SGD | {"clip_grad": limit, "epochs": 1}), batches(8))
        train_epoch(ours, batches(8), epoch=1)
        gradients = [p.grad for p in ours.backbone.model.parameters() if p.grad is not None]
        norms.append(torch.stack([gradient.norm() for gradient in gradients]).norm().item())
    assert norms[0] > 1e-2
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)


def test_running_out_of_memory_halves_the_pass_and_not_the_step(make_config: MakeConfig) -> None:
    settings = SGD | {"batch_size": 12, "accumulate": 2, "epochs": 1}
    four = batches(12, 12, 12, 5)
    roomy, tight = (learner(make_config(backbone="test_vit", train=settings), four) for _ in range(2))
    refuse_more_than(4, tight.backbone)
    for one in (roomy, tight):
        train_epoch(one, four, epoch=1)
    assert (roomy.micro_batch, tight.micro_batch) == (12, 3)
    assert_close(roomy, tight)


def test_a_single_image_that_does_not_fit_is_refused(make_config: MakeConfig) -> None:
    ours = learner(make_config(train={"epochs": 1}), batches(8))
    refuse_more_than(0, ours.backbone)
    with pytest.raises(ResourceError, match=f"^{TOO_LARGE}$"):
        train_epoch(ours, batches(8), epoch=1)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_not_finite_is_told_with_its_epoch_and_step(value: str, make_config: MakeConfig) -> None:
    first, second, third = stream(4, 4, 4, mixed=True)
    third = DeviceBatch(third.inputs, third.targets * float(value))
    three = [pending(batch) for batch in (first, second, third)]
    ours = learner(make_config(train={"epochs": 1}), three)
    loss = {"nan": "nan", "inf": "nan"}[value]
    message = (
        f"The training loss must be finite, but was `{loss}` in epoch 7, step 3; lower `lr`, or clip the gradient "
        "with `clip_grad`."
    )
    with pytest.raises(TrialError, match=f"^{re.escape(message)}$"):
        train_epoch(ours, three, epoch=7)


def test_training_in_bf16_stays_close_to_fp32(make_config: MakeConfig, tmp_path: Path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        ours = learner(make_config(backbone="test_vit", train={"precision": precision, "epochs": 1}), batches(8, 8))
        losses.append(train_epoch(ours, batches(16, 16), epoch=1).train_loss)
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process to a limit of memory")
@pytest.mark.parametrize(("mb_per_image", "said"), [(20, "8 of 32, loss as before"), (4000, "ResourceError")])
def test_under_a_real_limit_of_memory_the_steps_are_the_same_with_fewer_images_at_once(
    mb_per_image: int, said: str, make_config: MakeConfig, project: Path
) -> None:
    config = make_config(backbone="test_vit", train=SGD | {"batch_size": 32, "epochs": 1})
    whole = train_epoch(learner(config, batches(32)), batches(32), epoch=1)
    command = [sys.executable, "-m", "tests.unit.trial.limited_memory"]
    command += [config.model_dump_json(), str(mb_per_image), "300", repr(whole.train_loss)]
    child = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True, timeout=120)
    assert child.stdout.startswith(said), child.stdout
    if said == "ResourceError":
        assert re.fullmatch(f"ResourceError: {TOO_LARGE}", child.stdout)
