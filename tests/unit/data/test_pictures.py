"""Names that people give become image files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.data import find_pictures


def found(folder: Path, *names: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_pictures(str(folder / name) for name in names)]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("b/2.JPG", "b/deep/3.png", "a.jpg", "notes.txt", ".hidden/4.jpg", "elsewhere/5.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "circle").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "linked").symlink_to(tmp_path / "elsewhere")
    return tmp_path


def test_a_folder_stands_for_the_images_below_it_links_followed_once(album: Path) -> None:
    assert found(album, "b") == ["b/2.JPG", "b/deep/3.png", "b/linked/5.jpg"]
    assert found(album, ".") == ["a.jpg", "b/2.JPG", "b/deep/3.png", "b/linked/5.jpg", "elsewhere/5.jpg"]


def test_a_pattern_stands_for_what_matches_and_a_name_for_itself(album: Path) -> None:
    assert found(album, "*.jpg", "b/*.JPG") == ["a.jpg", "b/2.JPG"]
    assert found(album, "notes.txt", "nowhere.jpg", "none*.jpg") == ["notes.txt", "nowhere.jpg", "none*.jpg"]
