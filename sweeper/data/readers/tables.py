"""One Parquet or Arrow file: its columns by group of rows, read when they are asked for."""

from __future__ import annotations

import json
import zlib
from abc import ABC, abstractmethod
from threading import Lock
from typing import Any, Final, final

import pyarrow as pa
from pyarrow import parquet

from sweeper.data.readers.location import Location, Stamp, readable
from sweeper.errors import DataError

ENDINGS: Final = (".parquet", ".arrow")
"""What the files' names end in."""


class Table(ABC):
    """A file of rows in groups: Parquet's row groups, Arrow's record batches."""

    place: Location
    schema: Any
    """The Arrow schema; its metadata may say what labels mean."""
    counts: list[int]
    """Rows of each group."""
    stamp: str
    """Changes with the content; the same on every machine."""

    @abstractmethod
    def column(self, name: str, group: int) -> Any:
        """Returns one column of one group; safe to call from several threads."""


def open_table(place: Location, stamp: Stamp) -> Table:
    """Opens a file and reads what it says of itself.

    Raises:
        DataError: it cannot be read, or is no such file.
    """
    try:
        with readable(place.text):
            return _Parquet(place) if place.name.endswith(".parquet") else _Arrow(place, stamp)
    except pa.ArrowException as error:
        raise DataError(f"`{place.text}` must be a Parquet or Arrow file, but it is not ({error}).") from error


@final
class _Parquet(Table):
    def __init__(self, place: Location) -> None:
        self.place = place
        self._file = parquet.ParquetFile(place.path, filesystem=place.files)
        self._lock = Lock()  # a Parquet reader may be used by one thread at a time
        groups = [self._file.metadata.row_group(number) for number in range(self._file.num_row_groups)]
        self.schema = self._file.schema_arrow
        self.counts = [group.num_rows for group in groups]
        described = json.dumps([group.to_dict() for group in groups], default=str, sort_keys=True)
        self.stamp = f"{zlib.crc32(described.encode()):08x}"

    def column(self, name: str, group: int) -> Any:
        with self._lock:
            return self._file.read_row_group(group, columns=[name], use_threads=False).column(name)


@final
class _Arrow(Table):
    """Arrow's file format, or the stream that Hugging Face's `save_to_disk` writes, which is mapped or read whole."""

    def __init__(self, place: Location, stamp: Stamp) -> None:
        self.place = place
        file = pa.memory_map(place.path) if place.is_local else place.open()
        try:
            reader = pa.ipc.open_file(file)
            self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        except pa.ArrowInvalid:
            file.seek(0)
            reader = pa.ipc.open_stream(file)
            self._batches = list(reader)
        self.schema = reader.schema
        self.counts = [batch.num_rows for batch in self._batches]
        self.stamp = f"{stamp.size}:{sum(self.counts)}"

    def column(self, name: str, group: int) -> Any:
        return self._batches[group].column(name)
