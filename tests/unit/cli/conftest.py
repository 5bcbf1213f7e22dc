"""The command line inside this process: torch is imported once, and Ray is shared."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from sweeper.cli.main import main

TINY = """\
name: tiny
data: {source: digits, image_size: 32}
backbone: test_efficientnet
weights: random
train: {epochs: 1, batch_size: 256}
space:
  lr: {log: [1.0e-3, 1.0e-2]}
search: {trials: 1, sampler: random}
tracking: {enabled: false}
"""


@dataclass(frozen=True)
class Answer:
    """What a command printed, and the code it exited with."""

    code: int
    out: str
    err: str


Sweeper = Callable[..., Answer]


@pytest.fixture
def sweeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sweeper:
    """Calls `sweeper` in a folder that holds `tiny.yaml`."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)

    def _sweeper(*arguments: str) -> Answer:
        monkeypatch.setattr("sys.argv", ["sweeper", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Answer(int(ended.value.code or 0), captured.out, captured.err)

    return _sweeper


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of a few small pictures, in `train/` and `val/`."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for label in ("cap", "stem"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                cv2.imwrite(os.fspath(folder / f"{index}.png"), rng.integers(0, 255, (40, 48, 3), dtype=np.uint8))
    return tmp_path / "photos"
