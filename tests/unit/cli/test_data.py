"""`sweeper data`: look at images, and decode them once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Sweeper = Callable[..., Any]


def test_info_describes_a_folder_and_names_what_cannot_be_read(sweeper: Sweeper, photos: Path) -> None:
    (photos / "train" / "cap" / "broken.png").write_bytes(b"this is no picture")
    answer = sweeper("data", "info", str(photos))
    assert answer.code == 0
    assert "train" in answer.out
    assert "1.1 times the training images" in answer.out
    assert "Cannot read `train/cap/broken.png`: " in answer.out
    described = json.loads(sweeper("data", "info", str(photos), "--json").out)
    assert described["classes"] == ["cap", "stem"]


def test_info_describes_the_data_of_a_search_space(sweeper: Sweeper) -> None:
    described = json.loads(sweeper("data", "info", "tiny.yaml", "--json").out)
    assert [split["images"] for split in described["splits"]] == [1438, 359]


def test_prepare_decodes_once_and_says_where(sweeper: Sweeper, photos: Path) -> None:
    first = sweeper("data", "prepare", str(photos))
    assert first.code == 0
    assert "16 train, 8 val images of 2 classes." in first.out
    assert sweeper("data", "prepare", str(photos)).out == first.out


def test_a_missing_folder_is_told(sweeper: Sweeper, tmp_path: Path) -> None:
    answer = sweeper("data", "info", str(tmp_path / "nowhere"))
    assert answer.code == 2
    assert answer.err.startswith("sweeper: Cannot read the search space ")
