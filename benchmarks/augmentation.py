"""Training images a second: OpenCV image by image on a core, against whole batches on a device.

Both follow the same draws and make the same images. On a machine with a GPU the device is the GPU, with the images
kept on it and with those of each batch sent; elsewhere it is the CPU, which shows that OpenCV is the right choice
there. Images of 256 x 341 pixels, as the cache stores them for 224 px. Run::

    python benchmarks/augmentation.py [--device auto] [--batches 8]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images

from sweeper.data import TrainLoader
from sweeper.data.batched import PixelBank
from sweeper.data.manifest import Pixels
from sweeper.spec.training import AugmentSpec

IMAGE_SIZE, BATCH_SIZE = 224, 128
AUGMENTS = {
    "crop and flip": AugmentSpec(),
    "3-Augment": AugmentSpec(policy="3a"),
    "TrivialAugment": AugmentSpec(policy="trivial"),
    "RandAugment": AugmentSpec(policy="rand-m9"),
    "RandAugment, erasing": AugmentSpec(policy="rand-m9", erase=0.25),
}


@dataclass(frozen=True, eq=False)
class Photos:
    """Images in memory, as a loader takes them."""

    images: list[Pixels]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,): all of one class."""
        return np.zeros(len(self.images), np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Pixels:
        """Returns an image."""
        return self.images[index]


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="`cpu`, `cuda:0`, or `auto`")
    parser.add_argument("--batches", type=int, default=8, help="of 128 images, in each of two epochs that are timed")
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    cuda = torch.cuda.is_available() and args.device != "cpu"
    device = torch.device("cuda:0" if args.device == "auto" else args.device) if cuda else torch.device("cpu")
    photos = crops(args.batches * BATCH_SIZE)
    bank = PixelBank.of(photos.images, device)
    name = torch.cuda.get_device_name(device) if cuda else "the same core"
    table = Table(title=f"Training images a second at {IMAGE_SIZE} px; device: {name}")
    for title in ("augmentation", "OpenCV, one core", "device, sent", "device, kept", "kept over OpenCV"):
        table.add_column(title, justify="right" if title != "augmentation" else "left")
    for title, augment in AUGMENTS.items():
        plain = TrainLoader(photos, augment, image_size=IMAGE_SIZE, batch_size=BATCH_SIZE, seed=0, threads=0)
        sent = replace(plain, device=device)
        rates = [per_second(loader, device) for loader in (plain, sent, replace(sent, bank=bank))]
        table.add_row(title, *(f"{rate:,.0f}" for rate in rates), f"{rates[2] / rates[0]:.2f}")
    console = Console()
    console.print(table)
    console.print(f"torch {torch.__version__}, opencv {cv2.__version__}; python {' '.join(sys.argv)}", highlight=False)


def crops(count: int) -> Photos:
    """Returns crops of scikit-learn's two photos, of the size that the cache stores."""
    rng, photos = np.random.default_rng(0), load_sample_images().images
    found = []
    for number in range(count):
        top, left = int(rng.integers(427 - 256)), int(rng.integers(640 - 341))
        found.append(np.ascontiguousarray(photos[number % 2][top : top + 256, left : left + 341]))
    return Photos(found)


def per_second(loader: TrainLoader, device: torch.device) -> float:
    """Returns the images a second of two epochs, after a batch that warms up; of a CPU its own time counts."""
    clock: Callable[[], float] = time.perf_counter if device.type == "cuda" else time.process_time
    next(loader.epoch(1))
    wait(device)
    started, made = clock(), 0
    for epoch in (2, 3):
        made += sum(len(batch) for batch in loader.epoch(epoch))
    wait(device)
    return made / (clock() - started)


def wait(device: torch.device) -> None:
    """Waits until a GPU has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
