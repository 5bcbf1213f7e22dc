"""`sweeper data`: look at images, and decode them once."""

from __future__ import annotations

import json
import re
import shutil
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
    assert re.search(r"train/cap/broken.png +not an image, or one in an unknown format", answer.out)
    described = json.loads(sweeper("data", "info", str(photos), "--json").out)
    assert described["classes"] == ["cap", "stem"]


def test_info_describes_the_data_of_a_search_space(sweeper: Sweeper) -> None:
    described = json.loads(sweeper("data", "info", "tiny.yaml", "--json").out)
    assert [split["images"] for split in described["splits"]] == [1438, 359]


def test_prepare_decodes_once_and_says_where_and_how_much(sweeper: Sweeper, photos: Path) -> None:
    first = sweeper("data", "prepare", str(photos))
    assert first.code == 0
    assert "16 train, 8 val images of 2 classes." in first.out
    assert re.search(r"They take \d\.\d MB with a short side of 256 px; \d\.\d MB were predicted\.", first.out)
    assert sweeper("data", "prepare", str(photos)).out == first.out


def test_prepare_lists_what_it_left_out(sweeper: Sweeper, photos: Path) -> None:
    for number in range(25):
        (photos / "train" / "cap" / f"empty{number:02d}.jpg").write_bytes(b"")
    settings = ("--set", "data.source=folder", "--set", f"data.root={photos}", "--set", "data.max_bad_fraction=0.6")
    answer = sweeper("data", "prepare", "tiny.yaml", *settings)
    assert answer.code == 0, answer.err
    assert re.search(r"train/cap/empty19.jpg +the file is empty", answer.out)
    assert "empty20" not in answer.out
    assert "... and 5 more" in answer.out
    listed = re.search(r"Left out 25, listed in `(.+)`\.", answer.out)
    assert listed is not None
    assert len(Path(listed[1]).read_text().splitlines()) == 26


def test_prepare_refuses_more_than_it_may_take(sweeper: Sweeper, photos: Path) -> None:
    answer = sweeper("data", "prepare", str(photos), "--max-gb", "0.000001")
    assert answer.code == 2
    assert answer.err.startswith(
        "sweeper: The decoded images may take at most 1e-06 GB (`data.max_gb`), but 24 images "
    )


def test_a_missing_folder_is_told(sweeper: Sweeper, tmp_path: Path) -> None:
    answer = sweeper("data", "info", str(tmp_path / "nowhere"))
    assert answer.code == 2
    assert answer.err.startswith("sweeper: Cannot read the search space ")


def test_duplicates_are_listed_with_their_splits_and_classes(sweeper: Sweeper, photos: Path) -> None:
    shutil.copy(photos / "train" / "cap" / "3.png", photos / "val" / "stem" / "leak.png")
    answer = sweeper("data", "duplicates", str(photos))
    assert answer.code == 0
    assert re.search(r"exact +val +stem +val/stem/leak.png *\n +train +cap +train/cap/3.png", answer.out)
    assert answer.out.endswith(
        "1 of 9 validation images have a twin among the training images; 2 images have a twin of another class.\n"
    )
    report = json.loads(sweeper("data", "duplicates", str(photos), "--json", "--limit", "0").out)
    assert report == {
        "counts": {"val": 9, "test": 0, "val_in_train": 1, "test_in_train": 0, "test_in_val": 0, "conflicts": 2},
        "pairs": [],
    }


def test_fetch_states_the_terms_and_waits_for_their_acceptance(sweeper: Sweeper, tmp_path: Path) -> None:
    answer = sweeper("data", "fetch", "inat2017-fungi", "--to", str(tmp_path / "inat"))
    assert answer.code == 2
    assert "only for non-commercial research and educational purposes" in answer.out
    assert "NOT distributed" in answer.out
    assert answer.err == (
        "sweeper: The terms above must be accepted before anything is fetched; add `--accept-licence`.\n"
    )
    assert not (tmp_path / "inat").exists()


def test_info_draws_into_a_folder(sweeper: Sweeper, photos: Path, tmp_path: Path) -> None:
    answer = sweeper("data", "info", str(photos), "--out", "pictures", "--few", "9")
    assert answer.code == 0
    assert "2 classes have fewer than 9 training images: `cap` (8), `stem` (8)." in answer.out
    for name in ("augmented.png", "classes.png", "sizes.png"):
        assert f"Drawn: `pictures/{name}`" in answer.out
        assert (tmp_path / "pictures" / name).read_bytes().startswith(b"\x89PNG")
