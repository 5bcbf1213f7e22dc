"""Files on this machine or in an object store, through one of pyarrow's file systems."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
from pyarrow import fs

from sweeper.errors import DataError
from sweeper.paths import written_aside

_THREADS: Final = 16  # an object store answers in tens of milliseconds, however many ask
_CHUNK: Final = 256
_COPY_BYTES: Final = 2**23


@dataclass(frozen=True, eq=False)
class Location:
    """A file or a folder.

    Usage::

        photos = locate("s3://bucket/photos")
        with (photos / "0001.jpg").open() as file: ...
    """

    files: Any
    """The pyarrow file system."""
    path: str
    """Within the file system."""
    text: str
    """As the user wrote it."""

    def __truediv__(self, name: str) -> Location:
        """Returns what is called `name`, a path with forward slashes, in this folder."""
        return Location(self.files, f"{self.path}/{name}" if self.path else name, f"{self.text.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Location:
        """The folder that this is in."""
        return Location(self.files, self.path.rpartition("/")[0], self.text.rpartition("/")[0] or "/")

    @property
    def is_local(self) -> bool:
        """Whether this is on a file system of this machine."""
        return isinstance(self.files, fs.LocalFileSystem)

    @property
    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        with readable(self.text):
            return bool(self.files.get_file_info(self.path).type != fs.FileType.NotFound)

    @property
    def is_file(self) -> bool:
        """Whether this is a file."""
        with readable(self.text):
            return bool(self.files.get_file_info(self.path).is_file)

    def open(self) -> BinaryIO:
        """Opens the file for reading at any position.

        Raises:
            OSError: it cannot be opened.
        """
        opened: BinaryIO = self.files.open_input_file(self.path)
        return opened

    def read(self) -> bytes:
        """Returns the file's content.

        Raises:
            DataError: it cannot be read.
        """
        with readable(self.text), self.open() as file:
            return file.read()

    def stamps(self, names: Sequence[str]) -> list[Stamp | None]:
        """Returns size and time of change of the files called `names` in this folder; None for what is not there.

        Raises:
            DataError: the place cannot be reached.
        """
        paths = [(self / name).path for name in names]
        chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        with readable(self.text), ThreadPoolExecutor(_THREADS, thread_name_prefix="stat") as pool:
            found = [info for infos in pool.map(self.files.get_file_info, chunks) for info in infos]
        return [Stamp(info.size, info.mtime_ns or 0) if info.is_file else None for info in found]

    def entries(self) -> list[str]:
        """Returns the names of what is right in this folder, sorted.

        Raises:
            DataError: the folder cannot be listed.
        """
        with readable(self.text):
            return sorted(info.base_name for info in self.files.get_file_info(fs.FileSelector(self.path)))

    def below(self) -> list[tuple[str, Stamp]]:
        """Returns names, relative to this folder, and stamps of all files at any depth, sorted, hidden ones left out.

        Raises:
            DataError: the folder cannot be listed.
        """
        with readable(self.text):
            infos = self.files.get_file_info(fs.FileSelector(self.path, recursive=True))
        prefix = len(self.path.rstrip("/")) + 1 if self.path else 0
        named = [(info.path[prefix:], Stamp(info.size, info.mtime_ns or 0)) for info in infos if info.is_file]
        return sorted((name, stamp) for name, stamp in named if not any(part[:1] == "." for part in name.split("/")))

    def send(self, file: Path) -> None:
        """Puts a copy of a file of this machine here, all or nothing.

        Raises:
            OSError: it cannot be written.
        """
        target = f"{self.path}.part" if self.is_local else self.path  # a store shows an object once it is whole
        if self.is_local:
            self.files.create_dir(self.parent.path, recursive=True)
        with file.open("rb") as content, self.files.open_output_stream(target) as out:
            shutil.copyfileobj(content, out, _COPY_BYTES)
        if self.is_local:
            self.files.move(target, self.path)

    def fetch(self, file: Path) -> None:
        """Copies this file to one of this machine.

        Raises:
            OSError: it cannot be read, or the other one cannot be written.
        """
        with written_aside(file) as aside, self.open() as content, aside.open("wb") as out:
            shutil.copyfileobj(content, out, _COPY_BYTES)

    def remove(self) -> None:
        """Removes this folder with all that is in it.

        Raises:
            OSError: it cannot be removed.
        """
        self.files.delete_dir(self.path)


@dataclass(frozen=True, order=True)
class Stamp:
    """What changes when a file does."""

    size: int
    mtime_ns: int

    def __str__(self) -> str:
        return f"{self.size}:{self.mtime_ns}"


def locate(text: str) -> Location:
    """Returns the place that a path or URI names.

    Raises:
        DataError: no such kind of place is known.
    """
    if "://" not in text:
        return Location(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text)), text)  # noqa: PTH100, PTH111
    try:
        files, path = fs.FileSystem.from_uri(text)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"A place must be a path, or a URI such as `s3://bucket/photos` or `gs://bucket/photos`, "
            f"but `{text}` is neither ({error})."
        ) from error
    return Location(files, path.rstrip("/"), text.partition("?")[0].rstrip("/"))


def reason(error: OSError) -> str:
    """Returns why a file could not be read; Arrow's errors carry the number, but a text of its own."""
    return os.strerror(error.errno) if error.errno else str(error)


@contextmanager
def readable(text: str) -> Iterator[None]:
    """Turns the errors of a file system into one that names the place.

    Raises:
        DataError: whatever the block could not read.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"`{text}` must be readable, but it is not: {reason(error)}.") from error
