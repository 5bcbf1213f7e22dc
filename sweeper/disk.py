"""Whether a disk is full, and how that is told."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SIGNS: Final = (
    "No space left on device",  # safetensors, SQLite's extensions, many others
    "database or disk is full",  # SQLite
    "Disk quota exceeded",
)


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that a disk has no room."""
    return any(
        (isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT))
        or any(sign in str(one) for sign in _SIGNS)
        for one in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def size(path: Path) -> int:
    """Returns the bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    if not path.is_dir():
        return _file_size(path)
    return sum(_file_size(Path(root, name)) for root, _, names in os.walk(path) for name in names)


def _file_size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def told(count: float) -> str:
    """Returns a number of bytes as a person reads it: `1.2 GB`, `38 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
