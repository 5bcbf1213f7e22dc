"""Sweeps that were never run: a spec, and records made by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweeper.paths import CachePaths, SweepPaths
from sweeper.records import EpochMetrics, Failure, ParamValue, Spent, TrialRecord, TrialState
from sweeper.report import Source
from sweeper.spec import SweepSpec

MakeSource = Callable[..., Source]
SPACE: dict[str, Any] = {
    "backbone": {"choice": ["davit_tiny", "maxvit_tiny_rw_224"]},
    "lr": {"log": [1e-4, 1e-2]},
    "layer_decay": {"uniform": [0.5, 1.0]},
    "augment.policy": {"choice": ["none", "3a"]},
    "augment.mixup": {"uniform": [0.0, 0.4], "when": {"augment.policy": ["3a"]}},
}


def spec_with(**changes: Any) -> SweepSpec:
    """A sweep over two backbones."""
    settings: dict[str, Any] = {
        "name": "made",
        "data": {"source": "digits", "image_size": 32},
        "train": {"epochs": 4},
        "space": SPACE,
        "search": {"trials": 8},
    }
    return SweepSpec.model_validate(settings | changes)


def epoch_of(number: int, top1: float, **more: Any) -> EpochMetrics:
    """An epoch with a given top-1."""
    return EpochMetrics(
        epoch=number, top1=top1, top5=1.0, macro_f1=top1, balanced_accuracy=top1, val_loss=2 * (1 - top1), train_loss=1.0,
        lr=1e-3, train_seconds=10.0, eval_seconds=2.0, images_per_second=50.0, peak_memory_mb=100.0,
        **({"parameters": 4_000_000, "latency_ms": 5.0 + 10 * top1} | more),
    )  # fmt: skip


def record_of(
    number: int,
    *top1: float,
    state: TrialState = TrialState.COMPLETE,
    params: dict[str, ParamValue] | None = None,
    failure: Failure | None = None,
) -> TrialRecord:
    """A trial whose epochs have the given top-1 values."""
    point = params or {"backbone": "davit_tiny", "lr": 1e-3, "layer_decay": 0.8, "augment.policy": "none"}
    epochs = tuple(epoch_of(at, value) for at, value in enumerate(top1, start=1))
    started = 1000.0 + 20 * number
    return TrialRecord(
        number=number, state=state, params=point, epochs=epochs, attempts=1, failure=failure, started=started,
        finished=started + 30 if state.is_finished else None,
    )  # fmt: skip


def random_records(count: int, *, epochs: int = 4, seed: int = 0) -> list[TrialRecord]:
    """Trials of a plausible sweep: two thirds are stopped early, a few fail."""
    rng = random.Random(seed)
    records = []
    for number in range(count):
        policy = rng.choice(["none", "3a"])
        point: dict[str, ParamValue] = {
            "backbone": rng.choice(["davit_tiny", "maxvit_tiny_rw_224"]),
            "lr": math.exp(rng.uniform(math.log(1e-4), math.log(1e-2))),
            "layer_decay": rng.uniform(0.5, 1.0),
            "augment.policy": policy,
        }
        if policy == "3a":
            point["augment.mixup"] = rng.uniform(0.0, 0.4)
        top = 0.9 - 0.08 * abs(math.log10(float(str(point["lr"]))) + 3) + rng.gauss(0, 0.02)
        states = (TrialState.COMPLETE, TrialState.STOPPED, TrialState.STOPPED, TrialState.STOPPED, TrialState.FAILED)
        state = states[number % 5] if number else TrialState.COMPLETE
        length = {TrialState.COMPLETE: epochs, TrialState.STOPPED: rng.randint(1, epochs)}.get(state, 0)
        values = [min(1.0, max(0.0, top - 0.5 * math.exp(-0.9 * at))) for at in range(1, length + 1)]
        failure = Failure(reason="OutOfMemoryError: 16 GiB", traceback="Traceback ...") if not length else None
        records.append(record_of(number, *values, state=state, params=point, failure=failure))
    return records


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """Makes a source from records; its folder is empty, and no image is decoded on this machine."""

    def _make(records: Sequence[TrialRecord], *, spec: SweepSpec | None = None, **changes: Any) -> Source:
        given: dict[str, Any] = {
            "spec": spec or spec_with(),
            "sweep_id": "abc",
            "paths": SweepPaths(tmp_path / "sweeps" / "made"),
            "cache": CachePaths(tmp_path / "cache"),
            "records": tuple(records),
            "total": len(records),
            "alive": False,
            "spent": Spent(epochs=12, hours=0.5),
            "ended": None,
            "importances": {"lr": 0.7, "layer_decay": 0.3},
            "given_up": (),
        }
        return Source(**(given | changes))

    return _make
