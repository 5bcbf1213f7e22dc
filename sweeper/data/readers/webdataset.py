"""WebDataset: tar files whose members of one name and several endings are one image with its label."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, final

from sweeper.data.manifest import Manifest, Sample
from sweeper.data.readers.encoded import ShardImages
from sweeper.data.readers.folder import EXTENSIONS
from sweeper.data.readers.location import Location, readable
from sweeper.data.readers.rows import Row, manifest_of, observation_of, split_of_name
from sweeper.data.readers.shards import Recent, find_shards
from sweeper.errors import DataError, nearest
from sweeper.spec.data import WebDatasetData

_FILES_KEPT: Final = 64  # open shards; fewer than an ordinary limit on open files


@dataclass(frozen=True)
class _Member:
    """A file within a tar file."""

    start: int
    size: int
    stamp: str


@final
class TarImages(ShardImages):
    """Images within tar files, by where they start; a key such as `train-0.tar/0001.jpg` is a member of one."""

    def __init__(self, shards: Mapping[str, Location], members: Mapping[str, tuple[str, _Member]]) -> None:
        self._members = members
        self._files: Recent[str, Any] = Recent(lambda shard: shards[shard].open(), size=_FILES_KEPT)

    def open(self, sample: Sample) -> BinaryIO:
        """Reads the member and nothing around it."""
        shard, member = self._members[sample.key]
        file: Any = self._files(shard)
        return io.BytesIO(file.read_at(member.size, member.start))

    def place(self, sample: Sample) -> tuple[str, int]:
        """Returns the tar file and where in it the image starts."""
        shard, member = self._members[sample.key]
        return shard, member.start


def read_webdataset(spec: WebDatasetData) -> tuple[Manifest, TarImages]:
    """Reads the headers of all members, and the labels; reads no image.

    Raises:
        DataError: there are no tar files, one is damaged or compressed, or an image has no label.
    """
    found = find_shards(spec.root, (".tar",), kind="tar files")
    rows: list[Row] = []
    members: dict[str, tuple[str, _Member]] = {}
    for shard, (place, _) in found.items():
        with readable(place.text), place.open() as file:
            for name, parts in _samples(file, place):
                image = next((ending for ending in parts if f".{ending}" in EXTENSIONS), None)
                if image is None:
                    continue
                key, where = f"{shard}/{name}.{image}", f"`{name}` in `{place.text}`"
                members[key] = (shard, parts[image])
                rows.append(_row(key, shard, _record(file, parts, where, spec.label), parts[image], where))
    order = sorted({row.label for row in rows}, key=int) if all(row.label.isdecimal() for row in rows) else ()
    return manifest_of(rows, order=order), TarImages({name: place for name, (place, _) in found.items()}, members)


def _samples(file: BinaryIO, place: Location) -> Iterator[tuple[str, dict[str, _Member]]]:
    """Yields the members of one name by their endings, name by name."""
    current = ""
    parts: dict[str, _Member] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                folder, _, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                if not member.isfile() or not stem:
                    continue
                name = f"{folder}/{stem}".removeprefix("./").lstrip("/")
                if name != current and parts:
                    yield current, parts
                    parts = {}
                current = name
                parts[ending.lower()] = _Member(member.offset_data, member.size, f"{member.size}:{int(member.mtime)}")
    except tarfile.TarError as error:
        raise DataError(
            f"A shard must be a whole, uncompressed tar file, but `{place.text}` is not ({error})."
        ) from error
    if parts:
        yield current, parts


def _record(file: Any, parts: Mapping[str, _Member], where: str, label: str) -> Mapping[str, object]:
    """Returns what is known of an image, its label as `label`: the JSON file's before the `cls` file's."""
    read = {
        ending: file.read_at(parts[ending].size, parts[ending].start) for ending in ("cls", "json") if ending in parts
    }
    try:
        record = json.loads(read.get("json", b"{}"))
        text = read["cls"].decode().strip() if "cls" in read else ""
    except ValueError as error:
        raise DataError(f"The label of an image must be readable, but that of {where} is not ({error}).") from error
    if not isinstance(record, dict):
        raise DataError(f"The JSON of an image must be a mapping, but that of {where} is a {type(record).__name__}.")
    found = record.get(label, text)
    if isinstance(found, bool) or not isinstance(found, int | str) or found == "":
        hint = nearest(label, record) or "; its keys are " + (", ".join(f"`{key}`" for key in record) or "none") + "."
        raise DataError(
            f"Every image must have a `cls` file, or a JSON file whose `{label}` is a whole number or words, "
            f"but {where} has none{hint if 'json' in read else '.'}"
        )
    return {**record, "label": str(found)}


def _row(key: str, shard: str, record: Mapping[str, object], image: _Member, where: str) -> Row:
    group = record.get("group")
    return Row(
        key=key,
        label=str(record["label"]),
        split=split_of_name(shard),
        stamp=image.stamp,
        group="" if group is None else str(group),
        observation=observation_of(record, where=where),
    )
