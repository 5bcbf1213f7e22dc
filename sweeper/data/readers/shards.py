"""Data sets that lie in a few large files, whatever their format."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

from sweeper.data.readers.location import Location, Stamp, locate
from sweeper.errors import DataError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def find_shards(root: str, endings: tuple[str, ...], *, kind: str) -> dict[str, tuple[Location, Stamp]]:
    """Returns the shards at or below `root` by their names relative to it, sorted.

    Args:
        root: a folder or a single shard.
        endings: what their names end in.
        kind: what errors call them.

    Raises:
        DataError: there are none.
    """
    place = locate(root)
    if not place.exists:
        raise DataError(f"`data.root` must be a folder of {kind}, or one of them, but `{place.text}` does not exist.")
    if place.is_file:
        (stamp,) = place.parent.stamps([place.name])
        found = {place.name: (place, stamp)} if stamp is not None and place.name.endswith(endings) else {}
        return found or _refuse(place, endings, kind)
    named = {name: (place / name, stamp) for name, stamp in place.below() if name.endswith(endings)}
    return named or _refuse(place, endings, kind)


def _refuse(place: Location, endings: tuple[str, ...], kind: str) -> dict[str, tuple[Location, Stamp]]:
    listed = " or ".join(f"`{ending}`" for ending in endings)
    raise DataError(f"`data.root` must hold {kind}, named {listed}, but `{place.text}` holds none.")


class Recent(Generic[K, V]):
    """The last few values that were loaded; each is loaded once, however many threads ask for it."""

    def __init__(self, load: Callable[[K], V], *, size: int) -> None:
        self._load, self._size = load, size
        self._kept: OrderedDict[K, Future[V]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, key: K) -> V:
        """Returns the value of `key`.

        Raises:
            Exception: what `load` raised; the next call tries again.
        """
        with self._lock:
            known = self._kept.get(key)
            future = self._kept.setdefault(key, known or Future())
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        if known is None:
            try:
                future.set_result(self._load(key))
            except Exception as error:  # noqa: BLE001 - handed to every thread that waits, this one included
                with self._lock:
                    self._kept.pop(key, None)
                future.set_exception(error)
        return future.result()
