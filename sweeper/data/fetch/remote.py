"""A file on an HTTP server, read as if it were here, however often the connection breaks."""

from __future__ import annotations

import hashlib
import http.client
import io
import time
import urllib.error
import urllib.request
from typing import Any, Final

from sweeper.errors import FetchError

_ATTEMPTS: Final = 12
"""Connections in a row that may give not one byte: with the pauses between them, about five minutes."""
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 60.0
_TIMEOUT: Final = 60.0  # seconds without a byte
_TAIL: Final = 8  # bytes at the end of a gzip file that say what it holds


class RemoteFile:
    """Reads a URL at any position.

    A broken connection is opened again where it broke, by a Range request; a server that ignores those sends the
    file anew, and what was read before is skipped.
    """

    def __init__(self, url: str) -> None:
        """Asks for the file's size.

        Raises:
            FetchError: the server does not have the file, or cannot be reached.
        """
        self.url = url
        self.tail = b""
        """The last bytes that were read."""
        self._position = 0
        self._response: Any = None
        self._digest, self._digested = hashlib.md5(usedforsecurity=False), 0
        with self._request(method="HEAD") as head:
            self.size = int(head.headers.get("Content-Length") or 0)
            self.version: str = head.headers.get("ETag") or head.headers.get("Last-Modified") or ""
            """Changes when the file on the server does."""

    @property
    def md5(self) -> str | None:
        """The checksum of the whole file; None unless all of it was read in order."""
        return self._digest.hexdigest() if self._digested == self.size else None

    def tell(self) -> int:
        """Returns which byte comes next."""
        return self._position

    def seek(self, offset: int) -> int:
        """Goes to a byte; the next `read` asks the server for what is there."""
        if offset != self._position:
            self._disconnect()
            self._position = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes, up to `size` of them; none at the end of the file.

        Raises:
            FetchError: the connection broke and could not be opened again, or the file has changed meanwhile.
        """
        wanted = self.size - self._position if size < 0 else min(size, self.size - self._position)
        if wanted <= 0:
            return b""
        problem = "the server sends nothing"
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))
            try:
                if self._response is None:
                    self._response = self._connect()
                data: bytes = self._response.read(wanted)
            except (OSError, http.client.HTTPException) as error:
                data, problem = b"", str(error) or type(error).__name__
            if data:
                return self._taken(data)
            self._disconnect()
        raise FetchError(f"`{self.url}` broke off at byte {self._position:,} of {self.size:,}: {problem}.")

    def _taken(self, data: bytes) -> bytes:
        if self._digested == self._position:
            self._digest.update(data)
            self._digested += len(data)
        self._position += len(data)
        self.tail = (self.tail + data)[-_TAIL:] if len(data) < _TAIL else data[-_TAIL:]
        return data

    def _connect(self) -> Any:
        response = self._request(start=self._position)
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if version != self.version:
            raise FetchError(f"`{self.url}` must stay as it is while it is read, but it has changed; begin again.")
        skip = self._position if response.status == http.HTTPStatus.OK else 0
        while skip:
            skipped = len(response.read(min(skip, io.DEFAULT_BUFFER_SIZE)))
            if not skipped:
                raise OSError("the connection broke before the point that had been reached")
            skip -= skipped
        return response

    def _request(self, *, method: str = "GET", start: int = 0) -> Any:
        request = urllib.request.Request(self.url, method=method)
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if method == "GET" and (error.code >= 500 or error.code == http.HTTPStatus.TOO_MANY_REQUESTS):
                raise OSError(f"HTTP {error.code} {error.reason}") from error
            raise FetchError(f"`{self.url}` cannot be had: HTTP {error.code} {error.reason}.") from error
        except (OSError, http.client.HTTPException) as error:
            if method == "GET":
                raise
            raise FetchError(f"`{self.url}` cannot be reached: {getattr(error, 'reason', error)}.") from error

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
