"""Kept features are there whole or not at all, and are computed by one process."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sweeper.errors import ResourceError
from sweeper.trial.feature_store import FeatureStore

GET = """
import sys, time
from pathlib import Path
import numpy as np
import torch
from sweeper.trial.feature_store import FeatureStore

calls = []

def slow():
    calls.append(1)
    time.sleep(0.3)
    yield torch.zeros(6, 2, 4), torch.zeros(6, 4, dtype=torch.bfloat16)

print("ready", flush=True)
sys.stdin.readline()
features = FeatureStore(Path(sys.argv[1]), views={"train-0001": 6, "val": 6}).get("val", compute=slow())
print(len(calls), len(features.rows(np.arange(6))[0]))
"""
NUM_IMAGES = 6
ALL = np.arange(NUM_IMAGES)


def batches(*, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(2):
        rows = torch.randn(NUM_IMAGES // 2, 2, 4, generator=generator)
        yield rows, rows[:, 0].bfloat16()


def never() -> Iterator[tuple[Tensor, Tensor]]:
    raise AssertionError
    yield


def store_in(folder: Path) -> FeatureStore:
    return FeatureStore(folder, views={"train-0001": NUM_IMAGES, "val": NUM_IMAGES})


def test_a_store_gives_back_what_it_was_given_in_its_type(tmp_path: Path) -> None:
    features = store_in(tmp_path).get("val", compute=batches())
    given = [torch.cat(tensors) for tensors in zip(*batches(), strict=True)]
    for kept, expected in zip(features.rows(np.array([5, 0, 3])), given, strict=True):
        assert kept.dtype == expected.dtype
        assert torch.equal(kept, expected[[5, 0, 3]])


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "unfinished", "unreadable"])
def test_a_view_that_is_not_whole_is_computed_again(tmp_path: Path, damage: str) -> None:
    store = store_in(tmp_path)
    store.get("val", compute=batches(seed=1))
    file, manifest = tmp_path / "val-0.bin", tmp_path / "val.json"
    content = file.read_bytes()
    if damage == "changed":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "missing":
        file.unlink()
    elif damage == "unfinished":
        manifest.unlink()
    else:
        manifest.write_text("{")
    again = store.get("val", compute=batches())
    assert torch.equal(again.rows(ALL)[0], torch.cat([rows for rows, _ in batches()]))


def test_a_view_that_is_whole_is_not_computed_again(tmp_path: Path) -> None:
    store_in(tmp_path).get("val", compute=batches())
    store_in(tmp_path).get("val", compute=never())


def test_a_computation_that_fails_leaves_nothing_that_is_taken_as_whole(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[Tensor, Tensor]]:
        yield next(batches())
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        store_in(tmp_path).get("val", compute=failing())
    assert {path.name for path in tmp_path.iterdir()} <= {"val.lock"}
    store_in(tmp_path).get("val", compute=batches())


def test_what_a_killed_process_left_behind_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".val-0.bin.1.part"
    left.write_bytes(b"half of it")
    store_in(tmp_path).get("val", compute=batches())
    assert not left.exists()


def test_of_two_processes_one_computes_and_the_other_waits(tmp_path: Path) -> None:
    calls: list[int] = []

    def slow() -> Iterator[tuple[Tensor, Tensor]]:
        calls.append(1)
        time.sleep(0.3)  # so that the other one comes while this one computes
        yield from batches()

    command = [sys.executable, "-c", GET, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        features = store_in(tmp_path).get("val", compute=slow())
        their_calls, rows = other.communicate(timeout=60)[0].split()
    assert len(calls) + int(their_calls) == 1
    assert len(features.rows(ALL)[0]) == int(rows) == NUM_IMAGES


@contextmanager
def small_files_only() -> Iterator[None]:
    """Lets this process write no file beyond 100 bytes: a disk that is full, as far as a writer can tell.

    No fixture: pytest writes its own report before it takes a fixture down.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_meanwhile_is_one_clear_error(tmp_path: Path) -> None:
    message = (
        f"The frozen stages' features must be written to `{tmp_path}`, but it takes no more (File too large); free some "
        "disk, set `cache_features: 0`, or move `SWEEPER_CACHE`."
    )
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"), small_files_only():
        store_in(tmp_path).get("val", compute=batches())
    assert {path.name for path in tmp_path.iterdir()} <= {"val.lock"}


def test_a_disk_without_room_for_all_views_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 2 * NUM_IMAGES * 40 - 1  # 40 bytes an image, for the training view and for validation

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    message = (
        "The frozen stages' features need 4.47e-07 GiB of disk for 2 views, but "
        f"`{tmp_path}` has 4.46e-07 GiB free; freeze more stages, lower `cache_features`, or move `SWEEPER_CACHE`."
    )
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"):
        store_in(tmp_path).get("val", compute=batches())
    assert {path.name for path in tmp_path.iterdir()} <= {"val.lock"}
