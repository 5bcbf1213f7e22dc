"""Parquet and Arrow files that hold images, as Hugging Face data sets have them."""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, BinaryIO, Final, final

import pyarrow as pa

from sweeper.data.manifest import Manifest, Sample
from sweeper.data.readers.encoded import ShardImages
from sweeper.data.readers.rows import Row, manifest_of, split_of_name
from sweeper.data.readers.shards import Recent, find_shards
from sweeper.data.readers.tables import ENDINGS, Table, open_table
from sweeper.errors import DataError, nearest
from sweeper.spec.data import ParquetData

_GROUPS_KEPT: Final = 4  # in memory; images are mostly asked for in the order of the file


@final
class TableImages(ShardImages):
    """Images in a column of tables; a key such as `train-0.parquet#000017` is a row of a file."""

    def __init__(self, tables: Mapping[str, Table], column: str) -> None:
        self._tables, self._column = tables, column
        self._ends = {name: list(accumulate(table.counts)) for name, table in tables.items()}
        self._groups = Recent(self._load, size=_GROUPS_KEPT)

    def open(self, sample: Sample) -> BinaryIO:
        """Gives the bytes of the row."""
        name, row = self.place(sample)
        ends = self._ends[name]
        group = bisect_right(ends, row)
        first = ends[group - 1] if group else 0
        cell = self._groups((name, group))[row - first].as_py()
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if data is None:
            raise DataError("the row holds no bytes")
        return io.BytesIO(data)

    def place(self, sample: Sample) -> tuple[str, int]:
        """Returns the file and the row."""
        name, _, row = sample.key.rpartition("#")
        return name, int(row)

    def _load(self, key: tuple[str, int]) -> Any:
        try:
            return self._tables[key[0]].column(self._column, key[1])
        except pa.ArrowException as error:
            raise DataError(f"the rows around it are damaged ({error})") from error


def read_parquet(spec: ParquetData) -> tuple[Manifest, TableImages]:
    """Reads the labels of all rows; reads no image.

    Raises:
        DataError: there are no such files, or a column is missing or of another type.
    """
    found = find_shards(spec.root, ENDINGS, kind="Parquet or Arrow files")
    tables = {name: open_table(place, stamp) for name, (place, stamp) in found.items()}
    order: list[str] = []
    rows: list[Row] = []
    for name, table in tables.items():
        _check_columns(table, spec)
        words = _class_names(table, spec.label)
        order = words or order
        for number, label in enumerate(_labels(table, spec.label, words)):
            rows.append(Row(f"{name}#{number:06d}", label, split_of_name(name), table.stamp))
    if not order and all(row.label.lstrip("-").isdecimal() for row in rows):
        order = sorted({row.label for row in rows}, key=int)  # 10 comes after 9
    return manifest_of(rows, order=order), TableImages(tables, spec.image)


def _check_columns(table: Table, spec: ParquetData) -> None:
    names, where = table.schema.names, f"`{table.place.text}`"
    for setting, column in (("image", spec.image), ("label", spec.label)):
        if column not in names:
            known = "; its columns are " + ", ".join(f"`{name}`" for name in names) + "."
            hint = nearest(column, names) or known
            raise DataError(f"`data.{setting}` must be a column of {where}, but got `{column}`{hint}")
    image, label = table.schema.field(spec.image).type, table.schema.field(spec.label).type
    if not _holds_bytes(image):
        like = [name for name in names if _holds_bytes(table.schema.field(name).type)]
        raise DataError(
            f"`data.image` must be a column of bytes, but `{spec.image}` of {where} is of type `{image}`{_others(like)}"
        )
    if not _holds_labels(label):
        like = [name for name in names if _holds_labels(table.schema.field(name).type)]
        raise DataError(
            f"`data.label` must be a column of whole numbers or words, but `{spec.label}` of {where} is of type "
            f"`{label}`{_others(like)}"
        )


def _others(names: list[str]) -> str:
    return "; such are " + ", ".join(f"`{name}`" for name in names) + "." if names else "."


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else pa.null()
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _holds_labels(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _class_names(table: Table, label: str) -> list[str]:
    """Returns the names that a Hugging Face schema gives to the numbers of a `ClassLabel`, none where it gives none."""
    try:
        described = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        names = described["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return []
    return [str(name) for name in names]


def _labels(table: Table, column: str, words: list[str]) -> Iterator[str]:
    values = (value for group in range(len(table.counts)) for value in table.column(column, group).to_pylist())
    for number, value in enumerate(values):
        if value is None or value == "" or (isinstance(value, int) and words and not 0 <= value < len(words)):
            raise DataError(
                f"Every row must have a label, but row {number} of `{table.place.text}` has "
                f"{'none' if value in (None, '') else f'`{value}`, and there are {len(words)} names'}."
            )
        yield words[value] if words and isinstance(value, int) else str(value)
