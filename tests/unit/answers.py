"""Sweeps made by hand: a real ledger and real predictions files, without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sweeper.folder import write_folder
from sweeper.paths import SweepPaths
from sweeper.predictions import Predictions, PredictionsInfo, save_predictions
from sweeper.records import EpochMetrics
from sweeper.search import Ledger, open_ledger, storage_url
from sweeper.spec import SweepSpec

CLASSES = ("ash", "birch", "cedar", "oak")

Wrong = Sequence[int] | npt.NDArray[np.int64]


def said(wrong: Wrong, *, images: int = 200, epoch: int = 1, split: str = "s") -> Predictions:
    """What a trial says that is wrong about the images `wrong` and right, with 73 %, about all others."""
    labels = np.arange(images) % len(CLASSES)
    guessed = labels.copy()
    guessed[np.asarray(wrong, np.int64)] += 1
    logits = np.where(np.arange(len(CLASSES)) == (guessed % len(CLASSES))[:, None], 0.0, -2.0)
    return Predictions(
        logits=logits.astype(np.float16),
        labels=labels,
        numbers=np.arange(images),
        class_shares=np.full(len(CLASSES), 1 / len(CLASSES)),
        groups=np.array([[True, True, False, False], [False, False, True, True], [False] * 4]),
        info=PredictionsInfo(epoch=epoch, tau=0.0, classes=CLASSES, data_fingerprint="d", split_fingerprint=split),
    )


def metrics(epoch: int, top1: float, **changed: float) -> EpochMetrics:
    """An epoch of a given top-1."""
    plain: dict[str, Any] = {
        "top5": 1.0, "macro_f1": top1, "balanced_accuracy": top1, "val_loss": 1 - top1, "train_loss": 1.0, "lr": 1e-3,
        "train_seconds": 10.0, "eval_seconds": 2.0, "images_per_second": 50.0, "peak_memory_mb": 900.0,
        "parameters": 100_000, "latency_ms": 5.0,
    }  # fmt: skip
    return EpochMetrics(epoch=epoch, top1=top1, **plain | changed)


def made_sweep(
    root: Path, wrong: Sequence[Wrong], *, points: Sequence[Mapping[str, Any]] = (), images: int = 200, **fields: Any
) -> tuple[SweepSpec, SweepPaths, Ledger]:
    """Makes a finished sweep `made` in `root`: a trial for each of `wrong`, the images it is wrong about.

    Args:
        root: the folder of all sweeps.
        wrong: by trial.
        points: of the first trials; the others are drawn.
        images: validation images.
        fields: of the spec.
    """
    base: dict[str, Any] = {
        "name": "made",
        "data": {"source": "digits"},
        "train": {"epochs": 1},
        "space": {"lr": {"log": [1e-4, 1e-2]}, "freeze_depth": {"int": [0, 3]}},
        "points": list(points),
        "search": {"trials": len(wrong), "sampler": "random", "prior": "none"},
        "tracking": {"enabled": False},
    }
    base |= fields
    if "backbone" not in base["space"]:
        base["backbone"] = "test_efficientnet"
    spec = SweepSpec.model_validate(base)
    paths = SweepPaths(root / spec.name)
    paths.root.mkdir(parents=True)
    write_folder(paths, spec, source=None)
    ledger = open_ledger(spec, storage_url(spec, paths), create=True)
    for one in wrong:
        suggestion = ledger.ask()
        assert suggestion is not None
        ledger.report(suggestion.number, metrics(1, 1 - len(one) / images), is_last=True)
        ledger.complete(suggestion.number)
        save_predictions(said(one, images=images), paths.trial(suggestion.number).predictions)
    return spec, paths, ledger
