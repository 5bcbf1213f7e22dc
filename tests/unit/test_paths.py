"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.paths import CachePaths, SweepPaths, written_aside


def test_a_file_appears_whole(tmp_path: Path) -> None:
    with written_aside(tmp_path / "new" / "file") as aside:
        aside.write_text("whole")
        assert not (tmp_path / "new" / "file").exists()
    assert (tmp_path / "new" / "file").read_text() == "whole"


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    def write_half() -> None:
        with written_aside(tmp_path / "file") as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_trial_folders_sort_by_number(tmp_path: Path) -> None:
    assert SweepPaths(tmp_path).trial(7).log == tmp_path / "trials/0007/trial.log"


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path))
    assert CachePaths.default().images("f") == tmp_path / "images/f"
    monkeypatch.delenv("SWEEPER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert CachePaths.default().weights("w") == tmp_path / "xdg/sweeper/weights/w.safetensors"
