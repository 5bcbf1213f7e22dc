"""Parquet, Arrow and WebDataset: images inside a few large files."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from sweeper.data import Manifest
from sweeper.data.manifest import ImageSource, Observation
from sweeper.data.readers import read_manifest
from sweeper.data.readers.shards import Recent
from sweeper.errors import DataError
from sweeper.spec.data import ParquetData, WebDatasetData

NAMES = {
    "huggingface": json.dumps({"info": {"features": {"label": {"names": ["zebra", "ant"], "_type": "ClassLabel"}}}})
}


def png(value: int) -> bytes:
    """A picture whose every pixel tells which it is."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((12, 16, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def table(labels: Sequence[Any], *, first: int = 0, plain: bool = False, names: bool = False) -> pa.Table:
    """Rows whose images tell their number, as Hugging Face writes them."""
    images: list[Any] = [png(first + row) for row in range(len(labels))]
    if not plain:
        images = [{"bytes": image, "path": f"{row}.png"} for row, image in enumerate(images)]
    made = pa.table({"image": images, "label": labels})
    return made.replace_schema_metadata(NAMES) if names else made


def _read(root: Path, **settings: Any) -> tuple[Manifest, ImageSource]:
    return read_manifest(ParquetData.model_validate({"source": "parquet", "root": str(root), **settings}))


def _refusal(root: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        _read(root, **settings)
    return str(caught.value)


def _first_pixels(manifest: Manifest, source: ImageSource) -> dict[str, int]:
    with ThreadPoolExecutor(4) as pool:
        pixels = pool.map(lambda sample: source.read(sample, short_side=8), manifest.samples)
        return {sample.key: int(image[0, 0, 0]) for sample, image in zip(manifest.samples, pixels, strict=True)}


def test_a_hugging_face_folder_gives_splits_names_and_the_right_image_of_every_row(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    parquet.write_table(table([0, 1] * 5, names=True), data / "train-00000-of-00002.parquet", row_group_size=3)
    parquet.write_table(table([1, 0], first=10, names=True), data / "train-00001-of-00002.parquet")
    parquet.write_table(table([1, 0], first=12, names=True), data / "validation-00000-of-00001.parquet")
    parquet.write_table(table([0], first=14, names=True), data / "test-00000-of-00001.parquet")
    manifest, source = _read(tmp_path)
    assert manifest.classes == ("zebra", "ant")  # the schema's order
    assert [sum(sample.split == name for sample in manifest.samples) for name in ("train", "val", "test")] == [12, 2, 1]
    assert "data/train-00000-of-00002.parquet#000004" in {sample.key for sample in manifest.samples}
    pixels = _first_pixels(manifest, source)
    in_order = [pixels[key] for key in sorted(pixels, key=lambda key: ("train" not in key, "val" not in key, key))]
    assert in_order == list(range(15))
    assert source.size(manifest.samples[0]) == (16, 12)


def test_a_copy_elsewhere_has_the_same_fingerprint_and_another_image_another(tmp_path: Path) -> None:
    for name, first in (("one", 0), ("two", 0), ("three", 1)):
        (tmp_path / name).mkdir()
        parquet.write_table(table(["cap", "stem"] * 2, first=first), tmp_path / name / "train.parquet")
    one, two, three = (_read(tmp_path / name)[0].fingerprint for name in ("one", "two", "three"))
    assert one == two != three


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_files_and_streams_are_read_and_folders_tell_the_split(tmp_path: Path, kind: str) -> None:
    for split, first in (("train", 0), ("val", 4)):
        rows = table(["10", "9"] * 2, first=first, plain=True)
        (tmp_path / split).mkdir()
        new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with new(str(tmp_path / split / "data-00000-of-00001.arrow"), rows.schema) as writer:
            writer.write_table(rows, max_chunksize=3)
    manifest, source = _read(tmp_path)
    assert manifest.classes == ("9", "10")  # numbers in words are in the order of numbers
    assert sorted(_first_pixels(manifest, source).values()) == list(range(8))
    assert {sample.split for sample in manifest.samples} == {"train", "val"}


def test_wrong_columns_are_refused_with_what_would_be_right(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    parquet.write_table(table([0.5, 1.5]).append_column("species", [["a", "b"]]), file)
    assert _refusal(file) == (
        f"`data.label` must be a column of whole numbers or words, but `label` of `{file}` is of type `double`; "
        f"such are `species`."
    )
    assert _refusal(file, label="spcies") == (
        f"`data.label` must be a column of `{file}`, but got `spcies`; did you mean `species`?"
    )
    assert _refusal(file, image="species", label="species") == (
        f"`data.image` must be a column of bytes, but `species` of `{file}` is of type `string`; such are `image`."
    )
    assert _refusal(file, image="xyz") == (
        f"`data.image` must be a column of `{file}`, but got `xyz`; its columns are `image`, `label`, `species`."
    )


def test_a_row_without_a_label_or_without_bytes_is_told(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    parquet.write_table(table(["cap", None]), file)
    assert _refusal(file) == f"Every row must have a label, but row 1 of `{file}` has none."
    parquet.write_table(table([0, -1], names=True), file)
    assert _refusal(file) == f"Every row must have a label, but row 1 of `{file}` has `-1`, and there are 2 names."
    parquet.write_table(
        pa.table({"image": [{"bytes": None, "path": "a"}, {"bytes": png(1), "path": "b"}], "label": ["a"] * 2}), file
    )
    manifest, source = _read(file)
    with pytest.raises(DataError, match=r"^the row holds no bytes$"):
        source.read(manifest.samples[0], short_side=8)


def test_no_shards_no_folder_and_no_parquet_are_told(tmp_path: Path) -> None:
    assert _refusal(tmp_path) == (
        f"`data.root` must hold Parquet or Arrow files, named `.parquet` or `.arrow`, but `{tmp_path}` holds none."
    )
    assert _refusal(tmp_path / "no") == (
        f"`data.root` must be a folder of Parquet or Arrow files, or one of them, but `{tmp_path / 'no'}` does not exist."
    )
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and nothing else")
    assert _refusal(tmp_path).startswith(f"`{tmp_path}/train.parquet` must be a Parquet or Arrow file, but it is not (")


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _read_tar(root: Path, **settings: Any) -> tuple[Manifest, ImageSource]:
    return read_manifest(WebDatasetData.model_validate({"source": "webdataset", "root": str(root), **settings}))


def _tar_refusal(root: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        _read_tar(root, **settings)
    return str(caught.value)


def test_tar_shards_give_labels_from_cls_and_json_and_the_right_image(tmp_path: Path) -> None:
    about = {"label": 2, "group": 7, "latitude": 0.0, "longitude": None, "date": "2017-05-31"}
    write_tar(tmp_path / "train-000.tar", {
        "./0001.png": png(1), "./0001.cls": b"10\n", "0002.PNG": png(2), "0002.json": json.dumps(about).encode(),
        "0003.txt": b"no image",
    })  # fmt: skip
    write_tar(tmp_path / "val-000.tar", {"deep/0001.cls": b"2", "deep/0001.png": png(3)})
    manifest, source = _read_tar(tmp_path)
    assert manifest.classes == ("2", "10")
    assert _first_pixels(manifest, source) == {
        "train-000.tar/0001.png": 1, "train-000.tar/0002.png": 2, "val-000.tar/deep/0001.png": 3,
    }  # fmt: skip
    second = manifest.samples[1]
    assert (second.group, second.observation) == ("7", Observation(0.0, None, "2017-05-31"))


def test_a_tar_without_a_label_or_that_is_none_is_refused(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "train.tar", {"1.png": png(1), "1.json": b'{"species": "cap"}'})
    assert _tar_refusal(shard, label="specie") == (
        f"Every image must have a `cls` file, or a JSON file whose `specie` is a whole number or words, "
        f"but `1` in `{shard}` has none; did you mean `species`?"
    )
    assert _read_tar(shard, label="species")[0].classes == ("cap",)
    shard.write_bytes(b"x" * 1024)
    assert _tar_refusal(shard).startswith(f"A shard must be a whole, uncompressed tar file, but `{shard}` is not (")


def test_what_many_threads_ask_for_is_loaded_once_and_an_error_reaches_each() -> None:
    calls: list[int] = []

    def load(key: int) -> int:
        calls.append(key)
        if key == 13:
            raise DataError("unlucky")
        return key * 2

    recent: Recent[int, int] = Recent(load, size=2)
    together = Barrier(8)

    def ask(_: int) -> int:
        together.wait()
        return recent(3)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {6}
    assert calls == [3]
    for _ in range(2):
        with pytest.raises(DataError, match=r"^unlucky$"):
            recent(13)
    assert calls == [3, 13, 13]
    assert [recent(key) for key in (1, 2, 3)] == [2, 4, 6]
    assert calls == [3, 13, 13, 1, 2, 3]  # only the last two are kept


def test_a_stream_reads_a_shard_in_its_order_and_a_bad_row_is_told_when_it_is_decoded(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    images = [{"bytes": png(1), "path": "a"}, {"bytes": None, "path": "b"}, {"bytes": png(3), "path": "c"}]
    parquet.write_table(pa.table({"image": images, "label": ["a"] * 3}), file, row_group_size=2)
    manifest, source = _read(file)
    in_order = sorted(manifest.samples, key=source.place)
    assert [source.place(sample) for sample in in_order] == [("train.parquet", row) for row in range(3)]
    (_, first), (_, second), (_, third) = source.stream(in_order)
    assert (first(short_side=8)[0, 0, 0], third(short_side=8)[0, 0, 0]) == (1, 3)
    with pytest.raises(DataError, match=r"^the row holds no bytes$"):
        second(short_side=8)
    shard = write_tar(tmp_path / "train.tar", {"1.png": png(1), "1.cls": b"2", "2.png": png(2), "2.cls": b"2"})
    tar, images_of = _read_tar(shard)
    places = [images_of.place(sample) for sample in sorted(tar.samples, key=images_of.place)]
    assert [name for name, _ in places] == ["train.tar", "train.tar"]
    assert places[0][1] < places[1][1]
