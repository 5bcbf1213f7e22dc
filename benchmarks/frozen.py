"""What a frozen stage saves: time of a step and memory kept for its backward pass, with kept features and without.

Run `python benchmarks/frozen.py`. The steps of all freeze depths take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from sweeper.backbones import Backbone, build_backbone
from sweeper.backbones.cut import cut
from sweeper.spec.data import FolderData
from sweeper.spec.training import TrainSpec
from sweeper.spec.trial import TrialConfig

_CLASSES = 121  # as many as the fungi of iNaturalist 2017
_MIB = 2.0**20


def make(arguments: argparse.Namespace, depth: int) -> Backbone:
    """Builds the backbone with its first `depth` stages frozen."""
    data = FolderData(source="folder", root=Path("unused"), image_size=arguments.image_size)
    config = TrialConfig(backbone=arguments.backbone, weights="random", data=data)
    backbone = build_backbone(config, num_classes=_CLASSES, weights=None)
    backbone.model.to(memory_format=torch.channels_last)
    backbone.freeze(depth)
    backbone.train()
    return backbone


def step_of(backbone: Backbone, forward: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Callable[[], None]:
    """Returns a training step from fixed inputs."""
    optimizer = torch.optim.AdamW([dict(group) for group in backbone.param_groups(TrainSpec())])
    labels = torch.arange(len(inputs[0])) % _CLASSES

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(forward(*inputs), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def kept_for_backward(backbone: Backbone, images: Tensor) -> int:
    """Returns the bytes that autograd keeps after a forward pass, parameters not counted."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in backbone.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores = backbone.model(images)
    total = sum(kept.values())
    del scores
    return total


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="davit_tiny")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    images = torch.randn(arguments.batch_size, 3, arguments.image_size, arguments.image_size)
    images = images.to(memory_format=torch.channels_last)

    backbones = [make(arguments, depth) for depth in range(6)]
    whole = [step_of(backbone, backbone.model, (images,)) for backbone in backbones]
    kept = []
    for depth, backbone in enumerate(backbones[1:], start=1):
        halves = cut(backbone.model, {name for stage in backbone.stages[:depth] for name in stage.parameters})
        with torch.no_grad():
            features = halves.prefix(images)
        kept.append(step_of(backbone, halves.rest, features))
    times: list[list[float]] = [[] for _ in [*whole, *kept]]
    for number in range(arguments.rounds + 1):
        for step, measured in zip([*whole, *kept], times, strict=True):
            start = time.perf_counter()
            step()
            if number:  # the first round warms up
                measured.append(time.perf_counter() - start)
    medians = [statistics.median(measured) for measured in times]
    table = Table(
        title=f"{arguments.backbone}, {arguments.image_size} px, batch {arguments.batch_size}, CPU: training step"
    )
    for title in (
        "freeze_depth",
        "trained",
        "step, ms",
        "of depth 0",
        "kept for backward, MiB",
        "cached step, ms",
        "of depth 0",
    ):
        table.add_column(title, justify="right")
    for depth, backbone in enumerate(backbones):
        memory = kept_for_backward(backbone, images) / _MIB
        cached = medians[len(whole) + depth - 1] if depth else None
        table.add_row(
            str(depth), f"{100 * backbone.trained_share:.1f} %", f"{1e3 * medians[depth]:.0f}",
            f"{medians[depth] / medians[0]:.2f}", f"{memory:.1f}",
            "-" if cached is None else f"{1e3 * cached:.1f}", "-" if cached is None else f"{cached / medians[0]:.3f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
