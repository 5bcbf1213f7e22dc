"""Some members of a large tar.gz on a server, without ever storing it, going on where an earlier process ended."""

from __future__ import annotations

import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.data.fetch.inflate import Entry, Inflater
from sweeper.data.fetch.remote import RemoteFile
from sweeper.errors import FetchError
from sweeper.paths import written_aside

OnArchive = Callable[[int, int, int], None]
"""Called with the bytes of the archive that are read, all its bytes, and the files that are here."""

STEP: Final = 2**28
"""Bytes of the archive between two checkpoints: what a kill can cost."""
_BUFFER: Final = 2**16


class _Checkpoint(BaseModel):
    """How far an archive was read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    version: str
    size: int
    entry: Entry = Entry()
    """Where to enter it."""
    member: int = 0
    """Where the next member starts in the decompressed archive; not before the entry."""
    summed: int = 0
    """Decompressed bytes that went into `crc`."""
    crc: int = 0


@dataclass(frozen=True)
class Extracted:
    """What came of one archive."""

    written: int
    md5: str | None
    """Of the whole archive; None where an earlier process read a part of it."""


class _Summed:
    """The decompressed archive, its bytes counted and summed as they pass, each once however often it is read."""

    def __init__(self, inflater: Inflater, start: _Checkpoint) -> None:
        self._inflater, self._position = inflater, start.entry.decompressed
        self.summed, self.crc = start.summed, start.crc

    def read(self, size: int) -> bytes:
        data = self._inflater.read(size)
        fresh = data[max(0, self.summed - self._position) :]
        self._position += len(data)
        self.summed += len(fresh)
        self.crc = zlib.crc32(fresh, self.crc)
        return data

    def skip(self, size: int) -> None:
        while size and (data := self.read(min(size, _BUFFER))):
            size -= len(data)


@dataclass
class ArchiveReader:
    """Reads an archive once, from its first byte to its last, and keeps the wanted members.

    Args:
        archive: the tar.gz.
        wanted: the names of its members to keep: relative, without `..`.
        to: the folder to write them to, each under its name, whole or not at all.
        state: the file that remembers how far it got.
        step: bytes of the archive between checkpoints.
    """

    archive: RemoteFile
    wanted: Set[str]
    to: Path
    state: Path
    step: int = STEP
    _written: int = 0
    _here: int = 0

    def extract(self, on_progress: OnArchive) -> Extracted:
        """Reads the rest of the archive.

        Raises:
            FetchError: the connection cannot be had, or the archive is damaged.
        """
        self._here = sum((self.to / name).is_file() for name in self.wanted)
        start = self._last_checkpoint()
        inflater = Inflater(self.archive, entry=start.entry, step=self.step)
        content = _Summed(inflater, start)
        with closing(inflater), _told(self.archive.url):
            content.skip(start.member - start.entry.decompressed)
            self._read(inflater, content, start, on_progress)
            while content.read(_BUFFER) or self.archive.read(_BUFFER):
                pass  # what comes after the last member counts for the checksums
        on_progress(self.archive.tell(), self.archive.size, self._here)
        self._check(content)
        return Extracted(self._written, self.archive.md5)

    def forget(self) -> None:
        """Removes what is remembered: the next reading starts at the archive's first byte."""
        self.state.unlink(missing_ok=True)

    def _last_checkpoint(self) -> _Checkpoint:
        first = _Checkpoint(url=self.archive.url, version=self.archive.version, size=self.archive.size)
        try:
            saved = _Checkpoint.model_validate_json(self.state.read_bytes())
        except (FileNotFoundError, ValidationError):
            return first
        same = (saved.url, saved.version, saved.size) == (first.url, first.version, first.size)
        return saved if same else first

    def _read(self, inflater: Inflater, content: _Summed, start: _Checkpoint, on_progress: OnArchive) -> None:
        saved = waiting = start.entry
        with tarfile.open(fileobj=cast(Any, content), mode="r|", bufsize=_BUFFER) as members:
            while (member := members.next()) is not None:
                cast(Any, members).members.clear()  # it would remember all of them
                # Tar can be entered at a member, deflate at a block: the block must lie before the member.
                at = start.member + member.offset
                waiting = inflater.entry if waiting is saved else waiting
                if waiting is not saved and waiting.decompressed <= at:
                    self._save(start, content, entry=waiting, member=at)
                    saved = waiting
                name = member.name.removeprefix("./")
                if name in self.wanted and member.isreg():
                    self._take(members, member, self.to / name)
                on_progress(self.archive.tell(), self.archive.size, self._here)

    def _take(self, members: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
        if target.is_file():  # whole, since it has its name
            return
        source = members.extractfile(member)
        if source is None:
            return
        with written_aside(target) as aside, aside.open("wb") as file:
            shutil.copyfileobj(source, file)
        self._written += 1
        self._here += 1

    def _save(self, start: _Checkpoint, content: _Summed, *, entry: Entry, member: int) -> None:
        reached = {"entry": entry, "member": member, "summed": content.summed, "crc": content.crc}
        with written_aside(self.state) as aside:
            aside.write_text(start.model_copy(update=reached).model_dump_json(), encoding="utf-8")

    def _check(self, summed: _Summed) -> None:
        """Compares the decompressed bytes, of this process and of those before it, with what gzip's trailer says."""
        crc, length = struct.unpack("<II", self.archive.tail)
        if (summed.crc, summed.summed % 2**32) != (crc, length):
            self.forget()
            raise FetchError(f"`{self.archive.url}` is damaged: its CRC-32 is not that of its content; fetch it again.")


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        raise FetchError(f"`{url}` is damaged: {error}.") from error
