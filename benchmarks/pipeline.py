"""Training images a second, the first epoch and those after it: sweeper beside what else people feed a model with.

All end in normalised float batches of 224 px with RandAugment: torchvision's ImageFolder, Hugging Face `datasets` on
Parquet and WebDataset on tar shards, each with timm's transform, and sweeper's decoded cache and stream. Run::

    pip install -e .[bench]        # a peer that is not installed is left out
    python benchmarks/pipeline.py [--photos FOLDER]

The photos are enlarged to 800 and 500 px and saved as JPEG (quality 90). Enlarged photos hold less detail than photos
of that size, so their files are smaller and decode faster, which favours the peers.

The first epoch is all there is to do from files to its last batch: for sweeper the building of the cache, for others
whatever they do before they give a batch. On one core seconds are those of the processor, so that they mean something
on a machine that does other work; on all cores they are those of the clock.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import io
import multiprocessing
import os
import platform
import statistics
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq
import timm
import torch
import torchvision
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images
from timm.data import create_transform
from torch.utils.data import DataLoader

from sweeper.data import ImageCache, ImageStream, Preprocessor, TrainLoader, TrainStream, open_images, prepare_images
from sweeper.data.readers.folder import EXTENSIONS
from sweeper.paths import CachePaths
from sweeper.spec.data import FolderData, WebDatasetData
from sweeper.spec.split import SplitSpec
from sweeper.spec.training import AugmentSpec

IMAGE_SIZE: Final = 224
BATCH_SIZE: Final = 32
SHARDS: Final = 16
PEER_POLICY: Final = "rand-m9-mstd0.5"
# timm's transform crops from 8 % of the area on; the same here, so that both resize alike.
OUR_AUGMENT: Final = AugmentSpec(policy="rand-m9", min_scale=0.08)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ALL_TRAIN: Final = SplitSpec(val=1e-6)  # one image of each class is kept from us, as a sweep needs some

Epoch = Callable[[int], int]
"""Makes all batches of an epoch and returns the number of images."""
Opened = Callable[[Path, Path, int], Epoch]
"""Opens a folder of photos, given a fresh folder to write to and the number of workers; 0 works in the caller."""


def main() -> None:
    """Measures and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of photos, searched with its subfolders")
    parser.add_argument("--images", type=int, default=600, help="how many photos to use")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cores", choices=("one", "all", "both"), default="both")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    console, cores = Console(), os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="sweeper-pipeline-") as folder:
        sizes = {size: Path(folder) / str(size) for size in (800, 500)}
        for size, place in sizes.items():
            write_photos(photos(args.photos, args.images), place, long_side=size)
        for which, used, clock in (("one", {max(cores)}, time.process_time), ("all", cores, time.perf_counter)):
            if args.cores not in (which, "both"):
                continue
            os.sched_setaffinity(0, used)
            rates = measure(sizes, workers=0 if len(used) == 1 else len(used), repeats=args.repeats, clock=clock)
            console.print(rate_table(rates, cores=len(used)))
        console.print(memory_table(sizes[800], Path(folder)))
        if torch.cuda.is_available():
            print(waiting(sizes[800], Path(folder), torch.device("cuda"), "davit_tiny", len(cores)))
    console.print(versions(), highlight=False)
    console.print(f"python {' '.join(sys.argv)}", highlight=False)


def photos(folder: Path | None, count: int) -> Iterable[Image.Image]:
    """Yields `count` photos, evenly chosen from `folder`, or crops of scikit-learn's two sample photos."""
    if folder is None:
        rng = np.random.default_rng(0)
        for number in range(count):
            photo = Image.fromarray(load_sample_images().images[number % 2])
            left, top = int(rng.integers(photo.width - 480)), int(rng.integers(photo.height - 360))
            yield photo.crop((left, top, left + 480, top + 360))
        return
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if not paths:
        sys.exit(f"`--photos` must be a folder of photos, but `{folder}` holds none.")
    for index in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int):
        yield Image.open(paths[index]).convert("RGB")


def write_photos(images: Iterable[Image.Image], folder: Path, *, long_side: int) -> None:
    """Writes JPEG files of `long_side` pixels as an image folder of two classes, as Parquet and as tar shards."""
    rows: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        scale = long_side / max(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        jpeg = io.BytesIO()
        image.resize(size, Image.Resampling.BICUBIC).save(jpeg, "JPEG", quality=90)
        path = folder / "folder" / f"class{number % 2}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg.getvalue())
        rows.append({"image": {"bytes": jpeg.getvalue(), "path": path.name}, "label": number % 2})
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet", row_group_size=100)
    (folder / "shards").mkdir()
    for shard in range(SHARDS):
        with tarfile.open(folder / "shards" / f"{shard:03d}.tar", "w") as archive:
            for number in range(shard, len(rows), SHARDS):
                row = rows[number]
                for ending, data in (("jpg", row["image"]["bytes"]), ("cls", str(row["label"]).encode())):
                    member = tarfile.TarInfo(f"{number:05d}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))


def peer_transform() -> Any:
    """Returns timm's training transform."""
    return create_transform(IMAGE_SIZE, is_training=True, auto_augment=PEER_POLICY, mean=MEAN, std=STD)


def torch_loader(dataset: Any, workers: int, **settings: Any) -> Any:
    """Returns torch's loader, its workers kept from epoch to epoch."""
    return DataLoader(dataset, num_workers=workers, persistent_workers=workers > 0, **settings)


def image_folder(folder: Path, _work: Path, workers: int) -> Epoch:
    """torchvision's ImageFolder."""
    dataset = torchvision.datasets.ImageFolder(str(folder / "folder"), peer_transform())
    loader = torch_loader(dataset, workers, batch_size=BATCH_SIZE, shuffle=True)
    return lambda _: sum(len(images) for images, _ in loader)


def hugging_face(folder: Path, work: Path, workers: int) -> Epoch:
    """Hugging Face `datasets`, from Parquet."""
    import datasets

    transform = peer_transform()

    def transformed(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {"images": [transform(image.convert("RGB")) for image in rows["image"]], "labels": rows["label"]}

    files = str(folder / "train.parquet")
    dataset = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(work))
    dataset = dataset.cast_column("image", datasets.Image()).with_transform(transformed)
    loader = torch_loader(dataset, workers, batch_size=BATCH_SIZE, shuffle=True)
    return lambda _: sum(len(batch["images"]) for batch in loader)


def web_dataset(folder: Path, _work: Path, workers: int) -> Epoch:
    """WebDataset, from tar shards."""
    import webdataset as wds

    shards = sorted(map(str, (folder / "shards").glob("*.tar")))
    pipeline = wds.WebDataset(shards, shardshuffle=SHARDS).shuffle(1000).decode("pil").to_tuple("jpg", "cls")
    dataset = pipeline.map_tuple(peer_transform(), int).batched(BATCH_SIZE)
    loader = torch_loader(dataset, workers, batch_size=None)
    return lambda _: sum(len(images) for images, _ in loader)


def sweeper_cache(folder: Path, work: Path, workers: int) -> Epoch:
    """sweeper, from the decoded cache, which the first epoch builds."""
    return our_epochs(train_loader(our_cache(folder, work), workers))


def sweeper_stream(folder: Path, work: Path, workers: int) -> Epoch:
    """sweeper, from tar shards, nothing kept."""
    root = str(folder / "shards")
    spec = WebDatasetData(source="webdataset", root=root, image_size=IMAGE_SIZE, stream=True, split=ALL_TRAIN)
    images = open_images(spec, CachePaths(work))
    assert isinstance(images, ImageStream)
    split = images.split("train")
    loader = TrainLoader(split, OUR_AUGMENT, image_size=IMAGE_SIZE, batch_size=BATCH_SIZE, seed=0, threads=workers)
    return our_epochs(TrainStream.of(loader, split, shuffle_buffer=1000))


def our_cache(folder: Path, work: Path) -> ImageCache:
    """Opens the decoded cache of the photos, building it where it is missing."""
    spec = FolderData(source="folder", root=folder / "folder", image_size=IMAGE_SIZE, split=ALL_TRAIN)
    return prepare_images(spec, CachePaths(work))


def train_loader(cache: ImageCache, workers: int) -> TrainLoader:
    """Returns our loader of the training split."""
    split = cache.split("train")
    return TrainLoader(split, OUR_AUGMENT, image_size=IMAGE_SIZE, batch_size=BATCH_SIZE, seed=0, threads=workers)


def our_epochs(loader: TrainLoader) -> Epoch:
    """Returns what brings the batches of an epoch to the CPU as a device."""
    preprocess = Preprocessor(mean=MEAN, std=STD, num_classes=2, device=torch.device("cpu"))
    return lambda epoch: sum(len(preprocess(batch)) for batch in loader.epoch(epoch))


SYSTEMS: Final[dict[str, tuple[Opened, str]]] = {
    "ImageFolder + timm": (image_folder, "torchvision"),
    "Hugging Face datasets + timm": (hugging_face, "datasets"),
    "WebDataset + timm": (web_dataset, "webdataset"),
    "sweeper, cache": (sweeper_cache, "sweeper"),
    "sweeper, stream": (sweeper_stream, "sweeper"),
}
"""Each with the package it needs."""

Rates = dict[tuple[int, str], list[tuple[float, float]]]
"""Images a second of the first epoch and of the later ones, by photo size and system."""


def measure(sizes: dict[int, Path], *, workers: int, repeats: int, clock: Callable[[], float]) -> Rates:
    """Measures all systems in turns; the first turn, which warms up, is not counted."""
    rates: Rates = defaultdict(list)
    for repeat in range(-1, repeats):
        for size, folder in sizes.items():
            for name, (opened, package) in SYSTEMS.items():
                if importlib.util.find_spec(package) is None:
                    continue
                with tempfile.TemporaryDirectory(dir=folder) as work:
                    started = clock()
                    epoch = opened(folder, Path(work), workers)
                    first = epoch(1) / (clock() - started)
                    started = clock()
                    later = sum(map(epoch, (2, 3))) / (clock() - started)
                    del epoch  # and with it the workers
                if repeat >= 0:
                    rates[size, name].append((first, later))
    return rates


def rate_table(rates: Rates, *, cores: int) -> Table:
    """Returns the medians, and how they compare with the best of the peers."""
    what = "core, seconds of the processor" if cores == 1 else f"{cores} cores, seconds of the clock"
    table = Table(
        title=f"Training images a second on {'one' if cores == 1 else 'all'} {what}: {IMAGE_SIZE} px, RandAugment"
    )
    for title in ("photos", "system", "first epoch", "of the best peer", "later epochs", "of the best peer"):
        table.add_column(title, justify="left" if title == "system" else "right")
    medians = {key: [statistics.median(column) for column in zip(*found, strict=True)] for key, found in rates.items()}
    for (size, name), found in medians.items():
        peers = [other for (of, peer), other in medians.items() if of == size and not peer.startswith("sweeper")]
        best = [max(column) for column in zip(*peers, strict=True)]
        cells = [
            cell for value, top in zip(found, best, strict=True) for cell in (f"{value:,.0f}", f"{value / top:.2f}")
        ]
        table.add_row(f"{size} px", name, *cells)
    for name, (_, package) in SYSTEMS.items():
        if importlib.util.find_spec(package) is None:
            table.add_row("", f"{name}: `{package}` is not installed", "", "", "", "")
    return table


def memory_table(folder: Path, work: Path) -> Table:
    """Returns the memory of 1 and of 4 processes that go through one cache at the same time."""
    cache = our_cache(folder, work)
    table = Table(
        title=f"Memory of processes that share a cache of {cache.manifest.size_bytes / 2**20:.0f} MiB, MiB (PSS)"
    )
    for title in ("processes", "the cache, in all of them", "all else, in all of them"):
        table.add_column(title, justify="right")
    context = multiprocessing.get_context("spawn")
    for count in (1, 4):
        barrier, answers = context.Barrier(count), context.Queue()
        processes = [context.Process(target=_iterate, args=(folder, work, barrier, answers)) for _ in range(count)]
        for process in processes:
            process.start()
        found = [answers.get() for _ in processes]
        for process in processes:
            process.join()
        shared, whole = (sum(column) / 1024 for column in zip(*found, strict=True))
        table.add_row(str(count), f"{shared:.0f}", f"{whole - shared:.0f}")
    return table


def _iterate(folder: Path, work: Path, barrier: Barrier, answers: Any) -> None:
    """Goes through the cache, waits for the others to have done so, and answers with its share of memory in KiB."""
    torch.set_num_threads(1)
    sum(len(batch) for batch in train_loader(our_cache(folder, work), 0).epoch(1))
    barrier.wait()
    answer = (_proportional("smaps", "images-"), _proportional("smaps_rollup", ""))
    barrier.wait()  # nobody leaves before all have counted
    answers.put(answer)


def _proportional(file: str, name: str) -> int:
    """Returns this process's proportional share of its mappings of files that have `name` in their paths, in KiB."""
    total, counts = 0, False
    for line in Path(f"/proc/self/{file}").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:  # the line that begins a mapping
            counts = name in line
        elif line.startswith("Pss:") and counts:
            total += int(line.split()[1])
    return total


def waiting(folder: Path, work: Path, device: torch.device, backbone: str, threads: int) -> str:
    """Returns the share of a training step's time that passes before its batch is there."""
    model = timm.create_model(backbone, num_classes=2).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    preprocess = Preprocessor(mean=MEAN, std=STD, num_classes=2, device=device)
    loader = train_loader(our_cache(folder, work), threads)
    waited, trained = 0.0, 0.0
    for epoch in (1, 2, 3):
        asked = time.perf_counter()
        for batch in loader.epoch(epoch):
            ready = time.perf_counter()
            inputs = preprocess(batch).inputs
            with torch.autocast(device.type, torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(model(*inputs), batch.labels.to(device))
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()  # waits for the device
            if epoch > 1:
                waited, trained = waited + ready - asked, trained + time.perf_counter() - ready
            asked = time.perf_counter()
    share = waited / (waited + trained)
    return f"{backbone} on {device}, {threads} threads: {share:.2%} of a step's time is waiting for its batch."


def versions() -> str:
    """Returns what ran."""
    found = {"python": platform.python_version(), "pillow": PIL.__version__, "opencv": cv2.__version__}
    for package in ("torch", "torchvision", "timm", "datasets", "webdataset"):
        if importlib.util.find_spec(package) is not None:
            found[package] = importlib.metadata.version(package)
    return ", ".join(f"{name} {version}" for name, version in found.items())


if __name__ == "__main__":
    main()
