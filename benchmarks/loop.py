"""A training step of sweeper's loop beside a bare hand-written one: same weights, same batches, same sums.

Run `python benchmarks/loop.py`. Both loops take turns, so that a busy machine slows both; the ratio is the
median over the rounds. Aim: at most 1.03.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from sweeper.backbones import Backbone, build_backbone
from sweeper.data import Batch, DeviceBatch
from sweeper.spec.data import FolderData
from sweeper.spec.training import TrainSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import Machine, find_machine
from sweeper.trial.feed import Feed, Pending
from sweeper.trial.learner import Learner
from sweeper.trial.loop import train_epoch
from sweeper.trial.loss import Criterion

_CLASSES = 121  # as many as the fungi of iNaturalist 2017


@dataclass(frozen=True)
class Case:
    """What both loops train on."""

    config: TrialConfig
    machine: Machine
    batches: list[Batch]

    def to_device(self, batch: Batch) -> DeviceBatch:
        """Moves a batch to the device and scales it; both loops pay for it."""
        images = batch.images.to(self.machine.device, non_blocking=True).permute(0, 3, 1, 2).float()
        return DeviceBatch((images.div_(127.5).sub_(1.0),), batch.labels.to(self.machine.device, non_blocking=True))


class SameBatches(Feed):
    """The batches of a case in every epoch."""

    def __init__(self, case: Case) -> None:
        self._case = case

    @property
    def batches_per_epoch(self) -> int:
        """Batches of the case."""
        return len(self._case.batches)

    def epoch(self, epoch: int, *, skip: int = 0) -> Generator[Pending, None, None]:
        """Yields them in order."""
        for batch in self._case.batches:
            yield Pending(len(batch), np.arange(len(batch)), partial(self._case.to_device, batch))

    def validation(self) -> Iterator[Pending]:
        """Yields the same."""
        return self.epoch(1)

    def network(self, model: nn.Module) -> Callable[..., Tensor]:
        """Returns the model."""
        return model


def bare_loop(case: Case, model: nn.Module) -> Callable[[], None]:
    """Returns an epoch of the loop that one would write by hand for this model and no other purpose."""
    train = case.config.train
    optimizer = torch.optim.AdamW(model.parameters(), lr=train.lr, weight_decay=train.weight_decay)
    model.train()

    def epoch() -> None:
        total = torch.zeros((), device=case.machine.device)
        for batch in case.batches:
            ready = case.to_device(batch)
            with case.machine.autocast():
                logits = model(*ready.inputs)
            loss = F.cross_entropy(logits.float(), ready.targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            nn.utils.clip_grad_norm_(model.parameters(), train.clip_grad or float("inf"))
            optimizer.step()
            total += loss.detach()
        total.item()

    return epoch


def our_loop(case: Case, backbone: Backbone) -> Callable[[], None]:
    """Returns an epoch of sweeper's loop."""
    feed = SameBatches(case)
    learner = Learner.start(backbone, case.config.train, feed=feed, machine=case.machine, criterion=Criterion())

    def epoch() -> None:
        train_epoch(learner, feed.epoch(1), epoch=1)

    return epoch


def seconds(epoch: Callable[[], None]) -> float:
    """Returns how long one epoch takes."""
    start = time.perf_counter()
    epoch()
    return time.perf_counter() - start


def make_case(arguments: argparse.Namespace) -> Case:
    """Draws the batches and settles device and precision."""
    config = TrialConfig(
        backbone=arguments.backbone,
        weights="random",
        data=FolderData(source="folder", root=Path("unused"), image_size=arguments.image_size),
        train=TrainSpec(batch_size=arguments.batch_size, layer_decay=0.8),
    )
    shape = (arguments.batch_size, arguments.image_size, arguments.image_size, 3)
    batches = [
        Batch(
            images=torch.randint(0, 256, shape, dtype=torch.uint8),
            labels=torch.randint(0, _CLASSES, shape[:1]),
            indices=torch.arange(arguments.batch_size),
        )
        for _ in range(arguments.steps)
    ]
    return Case(config, find_machine(arguments.device, precision="auto"), batches)


def measure(case: Case, *, rounds: int) -> list[tuple[float, float]]:
    """Returns seconds an epoch of the bare loop and of ours, for each round after one that warms up."""
    backbone = build_backbone(case.config, num_classes=_CLASSES, weights=None)
    backbone.model.to(case.machine.device).to(memory_format=torch.channels_last)
    bare = bare_loop(case, copy.deepcopy(backbone.model))
    ours = our_loop(case, backbone)
    pairs = []
    for number in range(rounds + 1):
        # Each goes first every other time: the second finds warmer caches.
        first, second = (bare, ours) if number % 2 else (ours, bare)
        times = seconds(first), seconds(second)
        pairs.append(times if number % 2 else times[::-1])
    return pairs[1:]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4, help="steps an epoch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    case = make_case(arguments)
    pairs = measure(case, rounds=arguments.rounds)

    title = f"{arguments.backbone}, {arguments.image_size} px, batch {arguments.batch_size}, {case.machine.device}"
    table = Table("loop", "ms a step", "images/s", "of the bare loop", title=title)
    for name, column in (("bare PyTorch", 0), ("sweeper", 1)):
        step = statistics.median(pair[column] for pair in pairs) / arguments.steps
        ratio = statistics.median(pair[column] / pair[0] for pair in pairs)
        table.add_row(name, f"{step * 1e3:.1f}", f"{arguments.batch_size / step:.1f}", f"{ratio:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
