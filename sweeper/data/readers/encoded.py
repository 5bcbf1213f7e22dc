"""Images that are stored as the bytes of image files, wherever those bytes lie."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, final

from sweeper.data.decode import decode, upright_size
from sweeper.data.manifest import Encoded, ImageSource, Pixels, Sample
from sweeper.data.readers.location import Location, reason
from sweeper.errors import DataError


class EncodedImages(ImageSource):
    """Decodes what `open` gives."""

    @abstractmethod
    def open(self, sample: Sample) -> BinaryIO:
        """Opens the image's bytes.

        Raises:
            OSError: there are none.
        """

    def encoded(self, sample: Sample) -> bytes:
        """Returns the image's bytes as they are stored.

        Raises:
            DataError: they cannot be read; the message is the reason, without the key.
        """
        try:
            with self.open(sample) as file:
                return file.read()
        except OSError as error:
            raise DataError(reason(error)) from error

    def read(self, sample: Sample, *, short_side: int) -> Pixels:
        """Reads and decodes the image."""
        return decode(self.encoded(sample), short_side=short_side)

    def size(self, sample: Sample) -> tuple[int, int]:
        """Reads the image's header."""
        try:
            with self.open(sample) as file:
                return upright_size(file)
        except OSError as error:
            raise DataError(reason(error)) from error


class ShardImages(EncodedImages):
    """Images within shards, whose bytes are read in the order in which a stream asks for them."""

    def stream(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, Encoded]]:
        """Reads each image's bytes before it is decoded."""
        for sample in samples:
            try:
                yield sample, partial(decode, self.encoded(sample))
            except DataError as error:
                yield sample, _Unreadable(error)


@dataclass(frozen=True)
class _Unreadable:
    error: DataError

    def __call__(self, *, short_side: int) -> Pixels:
        raise self.error


@final
@dataclass(frozen=True)
class FileImages(EncodedImages):
    """Image files in a folder; a key is a path relative to it, with forward slashes."""

    root: Location

    def open(self, sample: Sample) -> BinaryIO:
        """Opens the file."""
        return (self.root / sample.key).open()
