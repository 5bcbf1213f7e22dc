"""Trains an epoch under a limit of memory, and prints what came of it.

    python limited_memory.py CONFIG MB_PER_IMAGE MORE_MB LOSS

A process of its own: what a process has freed before, and threads that a copy of it would lack, would decide otherwise.
CONFIG is JSON, LOSS that of the same epoch without a limit, MORE_MB what the kernel gives beside what is held.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch
from torch import Tensor

from sweeper.errors import ResourceError
from sweeper.spec.trial import TrialConfig
from sweeper.trial.loop import train_epoch
from tests.unit.trial.test_loop import batches, learner


def main() -> None:
    """Prints the images in one pass and whether the loss is as before, or why it ended."""
    config, mb_per_image, more_mb, loss = sys.argv[1:]
    torch.set_num_threads(1)
    limited = learner(TrialConfig.model_validate_json(config), batches(32))
    train_epoch(limited, batches(1), epoch=1)  # what is made at the first step is no matter of the images
    limited = learner(TrialConfig.model_validate_json(config), batches(32))

    def take(_module: object, inputs: tuple[Tensor, ...]) -> None:
        torch.ones(len(inputs[0]) * int(mb_per_image) * 2**18)

    limited.backbone.model.register_forward_pre_hook(take)
    status = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1]) for line in status if line.startswith("VmData:")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (held + int(more_mb) * 2**20,) * 2)
    try:
        trained = train_epoch(limited, batches(32), epoch=1)
    except ResourceError as error:
        print(f"ResourceError: {error}", end="")
        return
    same = abs(trained.train_loss - float(loss)) < 1e-5 * float(loss)
    print(f"{limited.micro_batch} of 32, {'loss as before' if same else 'another loss'}", end="")


if __name__ == "__main__":
    main()
