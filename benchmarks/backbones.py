"""Training speed of the study's four backbones, and of our neighbourhood attention beside natten's.

Run `python benchmarks/backbones.py`. The steps of all backbones take turns, so that a busy machine slows all of them.
On a GPU natten runs its fused kernels, forward and backward; on a CPU it has only an unfused forward pass.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from sweeper.backbones import Backbone, build_backbone
from sweeper.backbones.neighborhood import neighborhood_attention
from sweeper.spec.data import FolderData
from sweeper.spec.training import TrainSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.device import Machine, find_machine

_BACKBONES = ("nat_mini", "dinat_mini", "davit_tiny", "maxvit_tiny_rw_224")
_CLASSES = 121  # as many as the fungi of iNaturalist 2017
_LAYERS = ((56, 1, 2), (56, 8, 2), (28, 1, 4), (28, 4, 4), (14, 1, 8), (14, 2, 8), (7, 1, 16))
"""Side of the map, dilation and heads of the attention layers of NAT-Mini and DiNAT-Mini at 224 px."""


def timed(step: Callable[[], object], machine: Machine) -> float:
    """Returns the seconds of one step, the device waited for."""
    start = time.perf_counter()
    step()
    if machine.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def training_step(backbone: Backbone, machine: Machine, batch_size: int) -> Callable[[], None]:
    """Returns a step of training on fixed random images."""
    model = backbone.model.to(machine.device).to(memory_format=torch.channels_last)
    images = torch.randn(batch_size, 3, backbone.image_size, backbone.image_size, device=machine.device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, _CLASSES, (batch_size,), device=machine.device)
    optimizer = torch.optim.AdamW([dict(group) for group in backbone.param_groups(TrainSpec())])
    backbone.train()

    def step() -> None:
        with machine.autocast():
            loss = torch.nn.functional.cross_entropy(model(images).float(), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def report_training(arguments: argparse.Namespace, machine: Machine, console: Console) -> None:
    """Prints images a second and memory of each backbone."""
    data = FolderData(source="folder", root=Path("unused"), image_size=arguments.image_size)
    backbones = {
        name: build_backbone(
            TrialConfig(backbone=name, weights="random", data=data), num_classes=_CLASSES, weights=None
        )
        for name in _BACKBONES
    }
    steps = {name: training_step(one, machine, arguments.batch_size) for name, one in backbones.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    memory: dict[str, float] = {}
    for number in range(arguments.steps + 1):
        for name, step in steps.items():
            machine.reset_peak_memory()
            took = timed(step, machine)
            memory[name] = machine.peak_memory_mb()
            if number:  # the first step warms up
                seconds[name].append(took)
    table = Table(
        title=f"Training step, {arguments.image_size} px, batch {arguments.batch_size}, {machine.device}"
        f"{', bf16' if machine.bf16 else ''} (medians of {arguments.steps})"
    )
    for title in ("backbone", "parameters", "images/s", "beside davit_tiny", "peak memory, MiB"):
        table.add_column(title, justify="left" if title == "backbone" else "right")
    speed = {name: arguments.batch_size / statistics.median(times) for name, times in seconds.items()}
    for name, backbone in backbones.items():
        parameters = sum(parameter.numel() for parameter in backbone.model.parameters())
        # A process cannot forget its own peak, so on a CPU one model's cannot be told from another's.
        peak = f"{memory[name]:,.0f}" if machine.device.type == "cuda" else "-"
        ratio = speed[name] / speed["davit_tiny"]
        table.add_row(name, f"{parameters / 1e6:.1f} M", f"{speed[name]:.1f}", f"{ratio:.2f}", peak)
    console.print(table)


def report_attention(arguments: argparse.Namespace, machine: Machine, console: Console) -> None:
    """Prints the time of each attention layer, ours and natten's."""
    backward = machine.device.type == "cuda"
    table = Table(
        title=f"Attention of one layer, window 7, batch {arguments.batch_size}, forward" + " and backward" * backward
    )
    for title in ("map", "dilation", "ours with bias, ms", "ours, ms", "natten, ms", "ratio"):
        table.add_column(title, justify="right")
    for side, dilation, heads in _LAYERS:
        shape = (arguments.batch_size, side, side, heads, 32)
        inputs = [torch.randn(shape, device=machine.device, requires_grad=backward) for _ in range(3)]
        bias = torch.randn(heads, 13, 13, device=machine.device, requires_grad=backward)
        ours = partial(neighborhood_attention, *inputs, kernel_size=7, dilation=dilation)
        runs: list[Callable[[], Tensor]] = [partial(ours, bias=bias), ours]
        if find_spec("natten"):
            from natten.functional import na2d

            runs.append(partial(na2d, *inputs, kernel_size=7, dilation=dilation))
        times = [_median_of(run, machine, backward=backward) for run in runs]
        natten = f"{1e3 * times[2]:.1f}" if len(times) > 2 else "not installed"
        ratio = f"{times[2] / times[1]:.1f}" if len(times) > 2 else "-"
        table.add_row(
            f"{side} x {side}", str(dilation), f"{1e3 * times[0]:.1f}", f"{1e3 * times[1]:.1f}", natten, ratio
        )
    console.print(table)


def _median_of(run: Callable[[], Tensor], machine: Machine, *, backward: bool, rounds: int = 3) -> float:
    def step() -> None:
        with machine.autocast(), torch.set_grad_enabled(backward):
            result = run()
        if backward:
            torch.autograd.backward(result.float().sum())

    step()
    return statistics.median(timed(step, machine) for _ in range(rounds))


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64 if torch.cuda.is_available() else 2)
    parser.add_argument("--steps", type=int, default=20 if torch.cuda.is_available() else 3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    machine, console = find_machine(arguments.device, precision="auto"), Console()
    report_training(arguments, machine, console)
    report_attention(arguments, machine, console)
    console.print(f"python {platform.python_version()}, torch {torch.__version__}, timm {timm.__version__}")


if __name__ == "__main__":
    main()
