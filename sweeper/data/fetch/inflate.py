"""Decompresses a gzip file in one pass and leaves points at which another process can go on.

A deflate stream can be entered where one of its blocks begins, given the 32 KB before (zran.c, by Mark Adler). Python's
zlib neither stops at blocks nor takes up the bits of a byte that is half used, so zlib's own library is called.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any, Final, Protocol, cast

from pydantic import BaseModel, ConfigDict

from sweeper.errors import FetchError

_WINDOW: Final = 2**15
_CHUNK: Final = 2**18
_RAW, _GZIP = -15, 31  # window bits: a bare deflate stream, or one in gzip's wrapping
_OK, _STREAM_END, _BUF_ERROR, _Z_BLOCK = 0, 1, -5, 5


class Source(Protocol):
    """What compressed bytes are read from."""

    def read(self, size: int) -> bytes:
        """Returns the next bytes, up to `size`; none at the end."""

    def seek(self, offset: int) -> int:
        """Goes to a byte."""


class Entry(BaseModel):
    """A point at which a gzip file can be entered."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    compressed: int = 0
    """Bytes of the file before it, a byte that is half used included."""
    decompressed: int = 0
    """Bytes of the content before it."""
    bits: int = 0
    """How many bits of the last byte are still to be used."""
    last: int = 0
    """That byte."""
    window: bytes = b""
    """The content just before it."""


class _Stream(ctypes.Structure):
    """zlib's `z_stream`."""

    _fields_ = (
        ("next_in", ctypes.c_void_p), ("avail_in", ctypes.c_uint), ("total_in", ctypes.c_ulong),
        ("next_out", ctypes.c_void_p), ("avail_out", ctypes.c_uint), ("total_out", ctypes.c_ulong),
        ("msg", ctypes.c_char_p), ("state", ctypes.c_void_p), ("zalloc", ctypes.c_void_p), ("zfree", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p), ("data_type", ctypes.c_int), ("adler", ctypes.c_ulong),
        ("reserved", ctypes.c_ulong),
    )  # fmt: skip


class Inflater:
    """Reads the content of a gzip file, from its start or from an entry.

    Args:
        source: the file.
        entry: where to begin.
        step: compressed bytes between two entries.

    Raises:
        FetchError: this machine has no zlib.
    """

    def __init__(self, source: Source, *, entry: Entry, step: int) -> None:
        self.entry = entry
        """The last point that was passed and can be entered."""
        self._source, self._step = source, step
        self._library = _library()
        self._stream: Any = _Stream()
        self._compressed, self._decompressed = entry.compressed, entry.decompressed
        self._input, self._ended = b"", False
        bits = _RAW if entry.compressed else _GZIP
        self._call("inflateInit2_", bits, self._library.zlibVersion(), ctypes.sizeof(_Stream))
        if entry.compressed:
            if entry.bits:
                self._call("inflatePrime", entry.bits, entry.last >> (8 - entry.bits))
            self._call("inflateSetDictionary", entry.window, len(entry.window))
        source.seek(entry.compressed)

    def read(self, size: int) -> bytes:
        """Returns the next bytes of the content, up to `size` and at least one; none at the end.

        Raises:
            EOFError: the file ends too early, or is damaged.
        """
        buffer = ctypes.create_string_buffer(size)
        self._stream.next_out, self._stream.avail_out = ctypes.addressof(buffer), size
        while self._stream.avail_out == size and not self._ended:
            self._advance(size)
        return ctypes.string_at(buffer, size - self._stream.avail_out)

    def close(self) -> None:
        """Gives zlib's memory back."""
        self._library.inflateEnd(ctypes.byref(self._stream))

    def _advance(self, size: int) -> None:
        """Goes on to the end of a block, of the input or of the room for output."""
        if not self._stream.avail_in:
            self._input = self._source.read(_CHUNK)
            if not self._input:
                raise EOFError("it ends too early")
            self._stream.next_in = ctypes.cast(ctypes.c_char_p(self._input), ctypes.c_void_p)
            self._stream.avail_in = len(self._input)
        before_in, before_out = self._stream.avail_in, self._stream.avail_out
        code = self._library.inflate(ctypes.byref(self._stream), _Z_BLOCK)
        self._compressed += before_in - self._stream.avail_in
        self._decompressed += before_out - self._stream.avail_out
        if code not in (_OK, _STREAM_END, _BUF_ERROR):
            raise EOFError((self._stream.msg or b"it is damaged").decode())
        self._ended = code == _STREAM_END
        at_border = self._stream.data_type & 128 and not self._stream.data_type & 64
        if at_border and self._decompressed and self._compressed - self.entry.compressed >= self._step:
            self._remember()

    def _remember(self) -> None:
        window, length = ctypes.create_string_buffer(_WINDOW), ctypes.c_uint(0)
        self._call("inflateGetDictionary", window, ctypes.byref(length))
        self.entry = Entry(
            compressed=self._compressed,
            decompressed=self._decompressed,
            bits=self._stream.data_type & 7,
            last=self._input[len(self._input) - self._stream.avail_in - 1],
            window=window.raw[: length.value],
        )

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(ctypes.byref(self._stream), *arguments)
        if code != _OK:
            raise FetchError(f"zlib's `{name}` must succeed, but it returned {code}.")


def _library() -> Any:
    found = ctypes.util.find_library("z") or "libz.so.1"
    try:
        library = cast(Any, ctypes.CDLL(found))
    except OSError as error:
        raise FetchError(f"Fetching needs zlib's shared library, but it cannot be loaded ({error}).") from error
    library.zlibVersion.restype = ctypes.c_char_p
    return library
