"""Training images a second on one core: sweeper's decoded cache against JPEG files with timm's transform.

Both end in normalised float batches of 224 px with RandAugment. Run::

    python benchmarks/pipeline.py [--photos FOLDER]

The photos are enlarged to 500 and 800 px and saved as JPEG (quality 90). Enlarged photos hold less detail than
photos of that size, so their files are smaller and decode faster, which favours the peer.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import PIL
import timm
import torch
import torchvision
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images
from timm.data import create_transform
from torch.utils.data import DataLoader

from sweeper.data import Preprocessor, TrainLoader, prepare_images
from sweeper.data.cache import ImageCache
from sweeper.data.readers.folder import EXTENSIONS
from sweeper.paths import CachePaths
from sweeper.spec.data import FolderData
from sweeper.spec.training import AugmentSpec

IMAGE_SIZE = 224
BATCH_SIZE = 32
PEER_POLICY = "rand-m9-mstd0.5"
# timm's transform crops from 8 % of the area on; the same here, so that both resize alike.
OUR_AUGMENT = AugmentSpec(policy="rand-m9", min_scale=0.08)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class Rates:
    """Images a second of each repeat, for photos of one size."""

    peer: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    build: list[float] = field(default_factory=list)


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of photos, searched with its subfolders")
    parser.add_argument("--images", type=int, default=200, help="how many photos to use")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    use_one_core()
    rates = {800: Rates(), 500: Rates()}
    with tempfile.TemporaryDirectory(prefix="sweeper-pipeline-") as folder:
        work = Path(folder)
        for size in rates:
            write_photos(photos(args.photos, args.images), work / str(size), long_side=size)
        for repeat in range(-1, args.repeats):  # the first, uncounted, warms up
            for size, measured in rates.items():
                measure(measured if repeat >= 0 else Rates(), work / str(size), work / f"cache{repeat}", repeat + 1)
    report(rates)


def use_one_core() -> None:
    """Pins this process to one core and every library to one thread."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def photos(folder: Path | None, count: int) -> list[Image.Image]:
    """Returns `count` photos, evenly chosen from `folder`, or crops of scikit-learn's two sample photos."""
    if folder is None:
        rng = np.random.default_rng(0)
        crops = []
        for number in range(count):
            photo = Image.fromarray(load_sample_images().images[number % 2])
            left, top = int(rng.integers(photo.width - 480)), int(rng.integers(photo.height - 360))
            crops.append(photo.crop((left, top, left + 480, top + 360)))
        return crops
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not paths:
        sys.exit(f"`--photos` must be a folder of photos, but `{folder}` holds none.")
    chosen = np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)
    return [Image.open(paths[index]).convert("RGB") for index in chosen]


def write_photos(images: list[Image.Image], folder: Path, *, long_side: int) -> None:
    """Writes JPEG files of `long_side` pixels into an image folder of two classes."""
    for number, image in enumerate(images):
        scale = long_side / max(image.size)
        path = folder / f"class{number % 2}" / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (round(image.width * scale), round(image.height * scale))
        image.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)


def measure(rates: Rates, folder: Path, caches: Path, seed: int) -> None:
    """Adds one timing each of the peer, of ours and of building the cache."""
    rates.peer.append(per_second(lambda: run_peer(folder)))
    spec = FolderData(source="folder", root=folder, image_size=IMAGE_SIZE, max_bad_fraction=0.0)
    started = time.perf_counter()
    cache = prepare_images(spec, CachePaths(caches))
    rates.build.append(cache.manifest.num_images / (time.perf_counter() - started))
    rates.ours.append(per_second(lambda: run_ours(cache, seed)))


def per_second(run: Callable[[], int]) -> float:
    """Returns the images a second of `run`, which returns how many it made; at least two seconds long."""
    images, started = 0, time.perf_counter()
    while time.perf_counter() - started < 2.0:
        images += run()
    return images / (time.perf_counter() - started)


def run_peer(folder: Path) -> int:
    """Makes one epoch of torchvision's image folder with timm's training transform."""
    transform = create_transform(IMAGE_SIZE, is_training=True, auto_augment=PEER_POLICY, mean=MEAN, std=STD)
    dataset = torchvision.datasets.ImageFolder(str(folder), transform)
    return sum(len(images) for images, _ in DataLoader(dataset, BATCH_SIZE, shuffle=True))


def run_ours(cache: ImageCache, seed: int) -> int:
    """Makes one epoch of the cache's training split."""
    loader = TrainLoader(
        cache.split("train"), OUR_AUGMENT, image_size=IMAGE_SIZE, batch_size=BATCH_SIZE, seed=seed, threads=0
    )
    preprocess = Preprocessor(mean=MEAN, std=STD, num_classes=2, device=torch.device("cpu"))
    return sum(len(preprocess(batch)) for batch in loader.epoch(0))


def report(rates: dict[int, Rates]) -> None:
    """Prints the medians as one table, with what is needed to repeat it."""
    table = Table(title=f"Training images a second on one core, {IMAGE_SIZE} px, RandAugment (medians)")
    for title in ("photos", "ImageFolder + timm", "sweeper", "ratio", "cache build"):
        table.add_column(title, justify="right")
    for size, measured in rates.items():
        peer, ours, build = (statistics.median(values) for values in (measured.peer, measured.ours, measured.build))
        table.add_row(f"{size} px", f"{peer:,.0f}", f"{ours:,.0f}", f"{ours / peer:.1f}", f"{build:,.0f}")
    console = Console()
    console.print(table)
    console.print(
        f"python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"timm {timm.__version__}, pillow {PIL.__version__}, opencv {cv2.__version__}",
        highlight=False,
    )
    console.print(f"python {' '.join(sys.argv)}", highlight=False)


if __name__ == "__main__":
    main()
