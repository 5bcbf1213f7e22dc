from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.data.fetch import Fetched, Origin, fetch_inat2017, part_named
from sweeper.data.fetch.inflate import Entry, Inflater
from sweeper.data.readers import read_manifest
from sweeper.errors import DataError, FetchError
from sweeper.spec.data import INaturalistData
from tests.unit.data.fetch.conftest import ARCHIVE, Server, make_annotations, make_zip

STEP = 2**16


def _fetch(server: Server, to: Path, *, md5: str | None = None) -> Fetched:
    told: list[tuple[int, int, int]] = []
    origin = Origin(url=server.url, md5=md5 or server.md5, step=STEP)
    fetched = fetch_inat2017("Fungi", to, origin=origin, on_progress=lambda *progress: told.append(progress))
    size = len(server.files[ARCHIVE])
    assert not told or told[-1] == (size, size, 12)
    return fetched


def _fungi(server: Server) -> dict[str, bytes]:
    return {name: data for name, data in server.images.items() if "/Fungi/" in name}


def _images(to: Path) -> dict[str, bytes]:
    return {str(file.relative_to(to)): file.read_bytes() for file in to.rglob("*.jpg")}


def _refusal(server: Server, to: Path, *, md5: str | None = None) -> str:
    with pytest.raises(FetchError) as caught:
        _fetch(server, to, md5=md5)
    return str(caught.value)


def test_only_the_part_is_kept_and_the_reader_takes_it(server: Server, tmp_path: Path) -> None:
    fetched = _fetch(server, tmp_path)
    assert fetched == Fetched(images=12, written=12, missing=(), md5=server.md5)
    assert _images(tmp_path) == _fungi(server)  # no other part, no link, and nothing beside the folder
    assert not (tmp_path.parent / "evil.jpg").exists()
    assert server.starts() == [0]
    manifest, _ = read_manifest(INaturalistData(source="inat2017", root=str(tmp_path), supercategory="Fungi"))
    assert len(manifest.samples) == 12


def test_what_is_complete_is_not_fetched_again_and_what_was_deleted_is(server: Server, tmp_path: Path) -> None:
    _fetch(server, tmp_path)
    asked = len(server.asked)
    assert _fetch(server, tmp_path) == Fetched(images=12, written=0, missing=(), md5=None)
    assert len(server.asked) == asked
    next(tmp_path.rglob("*.jpg")).unlink()
    assert _fetch(server, tmp_path) == Fetched(images=12, written=1, missing=(), md5=server.md5)


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path, ranges: bool) -> None:
    third = len(server.files[ARCHIVE]) // 3
    server.breaks, server.ranges = [third, 2 * third], ranges
    assert _fetch(server, tmp_path) == Fetched(images=12, written=12, missing=(), md5=server.md5)
    assert _images(tmp_path) == _fungi(server)
    first, second, last = server.starts()
    assert first == 0
    if ranges:  # not a byte twice
        assert second == third - third % 4096
        assert last > second


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


SCRIPT = """
import sys
from pathlib import Path
from sweeper.data.fetch import Origin, fetch_inat2017
origin = Origin(url=sys.argv[1], md5=sys.argv[2], step=int(sys.argv[3]))
fetch_inat2017("Fungi", Path(sys.argv[4]), origin=origin, on_progress=lambda done, total, images: None)
"""


def test_a_killed_process_is_followed_by_one_that_asks_for_the_rest_alone(server: Server, tmp_path: Path) -> None:
    size = len(server.files[ARCHIVE])
    server.hold_at = size * 3 // 4
    command = [sys.executable, "-c", SCRIPT, server.url, server.md5, str(STEP), str(tmp_path)]
    killed = subprocess.Popen(command)
    try:
        assert server.holds.wait(120)
        wait_for(lambda: (tmp_path / ".fetch" / "Fungi.json").exists() and len(_images(tmp_path)) > 0)
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in _images(tmp_path)}
    assert set(before) < set(_fungi(server))
    assert all(_fungi(server)[name] == data for name, data in _images(tmp_path).items())  # whole, each of them
    server.hold_at = None
    server.go.set()
    fetched = _fetch(server, tmp_path)
    assert fetched == Fetched(images=12, written=12 - len(before), missing=(), md5=None)
    assert _images(tmp_path) == _fungi(server)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before  # none was written again
    assert server.starts()[0] == 0
    assert 0 < server.starts()[1] < size * 3 // 4


def test_another_archive_is_begun_anew(server: Server, tmp_path: Path) -> None:
    state = tmp_path / ".fetch" / "Fungi.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"url": f"{server.url}/{ARCHIVE}", "version": '"0"', "size": 5, "member": 512}))
    assert _fetch(server, tmp_path).md5 == server.md5
    assert not state.exists()


def test_a_wrong_md5_and_a_damaged_archive_are_refused(server: Server, tmp_path: Path) -> None:
    assert _refusal(server, tmp_path / "a", md5="0" * 32) == (
        f"`{server.url}/{ARCHIVE}` must have the md5 {'0' * 32}, but it has {server.md5}."
    )
    whole = server.files[ARCHIVE]
    server.files[ARCHIVE] = whole[: len(whole) // 2]
    assert _refusal(server, tmp_path / "b") == f"`{server.url}/{ARCHIVE}` is damaged: it ends too early."
    assert all(_fungi(server)[name] == data for name, data in _images(tmp_path / "b").items())  # never half a file
    server.files[ARCHIVE] = whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]
    assert _refusal(server, tmp_path / "c") == f"`{server.url}/{ARCHIVE}` is damaged: incorrect data check."
    server.files[ARCHIVE] = b"<html>Not Found</html>"
    assert _refusal(server, tmp_path / "d") == f"`{server.url}/{ARCHIVE}` is damaged: incorrect header check."


def test_an_archive_that_changes_while_it_is_read_is_refused(server: Server, tmp_path: Path) -> None:
    server.breaks, server.version_after_break = [100_000], '"2"'
    assert _refusal(server, tmp_path) == (
        f"`{server.url}/{ARCHIVE}` must stay as it is while it is read, but it has changed; begin again."
    )


def test_what_the_server_does_not_have_is_told(server: Server, tmp_path: Path) -> None:
    del server.files["inat2017_locations.zip"]
    assert _refusal(server, tmp_path) == f"`{server.url}/inat2017_locations.zip` cannot be had: HTTP 404 Not Found."
    server.files["inat2017_locations.zip"] = make_zip({"train2017_locations.json": []})
    assert _refusal(server, tmp_path) == (
        f"`{server.url}/inat2017_locations.zip` must hold 'val2017_locations.json', but it does not."
    )


def test_a_name_that_would_leave_the_folder_is_refused(server: Server, tmp_path: Path) -> None:
    name = "train_val_images/Fungi/../../../evil.jpg"
    documents = make_annotations(server.images)
    train = documents["train_val2017/train2017.json"]
    assert isinstance(train, dict)
    train["images"][0]["file_name"] = name
    server.files["train_val2017.zip"] = make_zip(documents)
    assert _refusal(server, tmp_path) == f"An image must stay in its folder, but the JSON files list `{name}`."
    assert list(tmp_path.rglob("evil.jpg")) == []


def test_parts_go_by_their_names_in_small_letters() -> None:
    assert part_named("inat2017-fungi") == "Fungi"
    with pytest.raises(DataError) as caught:
        part_named("inat2017-fungus")
    assert str(caught.value) == (
        "A data set to fetch must be a part of iNaturalist 2017, but got `inat2017-fungus`; did you mean "
        "`inat2017-fungi`?"
    )


def test_a_gzip_file_can_be_entered_at_every_remembered_point() -> None:
    rng = random.Random(0)
    # What compresses and what does not: blocks of every kind, which begin at every bit of a byte.
    words = [rng.randbytes(rng.randint(2, 9)) for _ in range(400)]
    parts = [b"".join(rng.choices(words, k=9000)) if part % 3 else rng.randbytes(90_000) for part in range(20)]
    content = b"".join(parts)
    packed = gzip.compress(content)
    reader, entries = Inflater(io.BytesIO(packed), entry=Entry(), step=2**12), set()
    while reader.read(5000):
        entries.add(reader.entry)
    assert len({entry.bits for entry in entries}) >= 6
    for entry in entries:
        again = Inflater(io.BytesIO(packed), entry=Entry.model_validate_json(entry.model_dump_json()), step=2**40)
        read = []
        while part := again.read(2**20):
            read.append(part)
        assert b"".join(read) == content[entry.decompressed :]
