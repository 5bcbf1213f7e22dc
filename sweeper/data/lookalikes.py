"""Whether two images show the same picture: a perceptual hash to find pairs, a closer comparison to be sure."""

from __future__ import annotations

from itertools import combinations
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from sweeper.data.manifest import Pixels

SIMILARITY: Final = 0.93
"""Least similarity of two images that count as one picture. Below it stand, in Caltech-101, motorcycles of one maker
in one pose; a crop to 95 % keeps 0.95 (1st percentile)."""
_HASH_DISTANCE: Final = 10
"""Most differing bits, of 63, of two hashes whose images are compared."""
_SIDE: Final = 64
_MARGIN: Final = 8
"""Pixels of `_SIDE` by which one image may be shifted against the other."""
_SCALES: Final = (0.96, 0.92)
"""Parts of one image that are compared with the whole of the other."""
_FLAT: Final = 4.0
"""Standard deviation in grey levels below which an image shows nothing that could be recognised."""
_BUCKET: Final = 500
"""Most images that one image meets in one bucket. Only thousands of nearly equal images fill one further."""
_NEIGHBOURS: Final = 16
"""Images most like one image that it is compared with closely."""
_BLOCK: Final = 2**22  # candidates held in memory at once

Thumbnail = npt.NDArray[np.float32]
"""(64, 64) grey levels."""


def thumbnail(image: Pixels) -> Thumbnail:
    """Returns a small grey version of an image, whatever its shape was."""
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey: Thumbnail = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey


def perceptual_hash(thumb: Thumbnail) -> int:
    """Returns 63 bits that change little with the image; 0 for one that is nearly of one colour.

    The signs, about their median, of the lowest 8 x 8 frequencies but the mean (pHash; Zauner, 2010).
    """
    if thumb.std() < _FLAT:
        return 0
    half = cv2.resize(thumb, (_SIDE // 2, _SIDE // 2), interpolation=cv2.INTER_AREA)
    low = cv2.dct(half)[:8, :8].ravel()[1:]
    bits = np.packbits(low > np.median(low))
    return int.from_bytes(bits.tobytes())


def similarity(one: Thumbnail, other: Thumbnail) -> float:
    """Returns how alike two images are, 1 for the same picture: brightness, contrast and small crops do not count.

    The normalised correlation at the best shift and scale.
    """
    pairs = [(one, other)]
    pairs += [pair for scale in _SCALES for pair in ((_inner(one, scale), other), (_inner(other, scale), one))]
    return max(_correlation(middle, whole) for middle, whole in pairs)


def _correlation(middle: Thumbnail, whole: Thumbnail) -> float:
    template = middle[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return float(cv2.matchTemplate(whole, template, cv2.TM_CCOEFF_NORMED).max())


def _inner(thumb: Thumbnail, scale: float) -> Thumbnail:
    """Returns the middle of an image, `scale` of its width and height, as large as before."""
    offset = _SIDE * (1 - scale) / 2
    matrix = np.array([[scale, 0, offset], [0, scale, offset]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inner: Thumbnail = cv2.warpAffine(thumb, matrix, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return inner


def candidates(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Returns (P, 2): pairs of positions, the lower first, whose hashes differ in few bits.

    Of two hashes that differ in at most 10 bits, one of the four 16-bit quarters differs in at most 2, so that
    equal quarters, and those with one or two bits turned, are looked up in a table (Norouzi et al., "Fast Search in
    Hamming Space with Multi-Index Hashing", 2012): time grows with N and N^2 / 65,536, not with N^2.

    Args:
        hashes: (N,); hashes of 0 are left out.
    """
    quarters = hashes.view(np.uint16).reshape(-1, 4)
    known = np.flatnonzero(hashes)
    found = [np.empty(0, np.int64)]
    for quarter in quarters.T:
        values = quarter[known].astype(np.int64)
        order = known[np.argsort(values, kind="stable")]
        starts = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=2**16))])
        for mask in _masks():
            looked_up = values ^ mask
            found += _met(hashes, known, order, starts[looked_up], starts[looked_up + 1])
        found = [_distinct(np.concatenate(found))]
    return _nearest(hashes, np.stack(np.divmod(found[0], len(hashes)), axis=1))


def _distinct(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    # Not `np.unique`: the hash table of NumPy 2.4 takes seconds for half a million numbers that follow a pattern.
    ordered = np.sort(numbers)
    return ordered[np.diff(ordered, prepend=-1) > 0]


def _masks() -> list[int]:
    """Returns every 16-bit number with at most two bits set."""
    bits = [1 << bit for bit in range(16)]
    return [0, *bits, *(one | other for one, other in combinations(bits, 2))]


def _met(
    hashes: npt.NDArray[np.uint64],
    known: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
) -> list[npt.NDArray[np.int64]]:
    """Returns the pairs of `known[i]` with each of `order[first[i]:last[i]]` whose hashes are near.

    A pair is one number, its lower position times N plus its higher one.
    """
    counts = np.minimum(last - first, _BUCKET)
    ends = np.cumsum(counts)
    pairs = []
    begin = 0
    while begin < len(known):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + _BLOCK)))
        rows = slice(begin, end)
        one = np.repeat(known[rows], counts[rows])
        step = np.arange(len(one)) - np.repeat(ends[rows] - counts[rows] - before, counts[rows])
        other = order[np.repeat(first[rows], counts[rows]) + step]
        near = (one != other) & (np.bitwise_count(hashes[one] ^ hashes[other]) <= _HASH_DISTANCE)
        one, other = one[near], other[near]
        pairs.append(np.minimum(one, other) * len(hashes) + np.maximum(one, other))
        begin = end
    return pairs


def _nearest(hashes: npt.NDArray[np.uint64], pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Keeps the pairs in which either is among the nearest few of the other."""
    distance = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])
    kept = np.zeros(len(pairs), bool)
    for side in pairs.T:
        order = np.lexsort((distance, side))
        begins = np.searchsorted(side[order], side[order], side="left")
        kept[order[np.arange(len(order)) - begins < _NEIGHBOURS]] = True
    return pairs[kept]
