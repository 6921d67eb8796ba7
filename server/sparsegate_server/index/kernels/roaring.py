"""Reads a Roaring bitmap, as it is serialised, straight into a mask.

The format is the portable one (RoaringFormatSpec): a header that names for each container its 16
upper bits and how many values it has, then the containers: sorted arrays, bitsets, or runs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bits import load_u16, load_u64, unite_lanes
from sparsegate_server.index.kernels.registry import helper

_NO_RUNS, _WITH_RUNS = 12346, 12347
"""The first 16 bits, by whether containers of runs may follow."""

_NO_OFFSETS = 4
"""With runs, so few containers come without a table of where each begins."""

_MOST_IN_ARRAY = 4096
_WORDS = 1024
"""Of a bitset."""

_ONE, _SIX, _LOW = np.uint64(1), np.uint64(6), np.uint64(63)
_ALL = np.uint64(2**64 - 1)


@helper
def add_roaring(
    blob: NDArray[np.uint8], start: int, stop: int, size: int, words: NDArray[np.uint64]
) -> bool:
    """Adds the values of the bitmap in `blob[start:stop]` to a mask of `size` rows.

    Returns:
        Whether the bytes are a bitmap of values below `size`; if not, some may have been added.
    """
    if stop - start < 8:
        return False
    cookie = load_u16(blob, start)
    if cookie == _WITH_RUNS:
        count = load_u16(blob, start + 2) + 1
        flags = start + 4
        header = flags + (count + 7) // 8
        at = header + 4 * count + (4 * count if count >= _NO_OFFSETS else 0)
    elif cookie == _NO_RUNS and load_u16(blob, start + 2) == 0:
        # No bitmap has more than 65,536 containers.
        count = np.int64(load_u64(blob, start) >> np.uint64(32))
        flags = -1
        header = start + 8
        at = header + 8 * count
    else:
        return False
    if at > stop:
        return False
    for number in range(count):
        entry = header + 4 * number
        base = load_u16(blob, entry) * _WORDS
        if base >= len(words):
            return False
        values = load_u16(blob, entry + 2) + 1
        room = words[base : base + _WORDS]
        if flags >= 0 and blob[flags + (number >> 3)] >> (number & 7) & 1:
            at = _add_runs(blob, at, stop, room)
        elif values <= _MOST_IN_ARRAY:
            at = _add_array(blob, at, stop, values, room)
        else:
            at = _add_bitset(blob, at, stop, room)
        if at < 0:
            return False
    return size & 63 == 0 or words[size >> 6] >> np.uint64(size & 63) == 0


@helper
def _add_array(
    blob: NDArray[np.uint8], at: int, stop: int, values: int, words: NDArray[np.uint64]
) -> int:
    """Where the container ends; -1 if it ends too late or has a value beyond `words`."""
    end = at + 2 * values
    if end > stop:
        return -1
    for place in range(at, end, 2):
        value = np.uint64(load_u16(blob, place))
        if value >> _SIX >= np.uint64(len(words)):
            return -1
        words[value >> _SIX] |= _ONE << (value & _LOW)
    return end


@helper
def _add_bitset(blob: NDArray[np.uint8], at: int, stop: int, words: NDArray[np.uint64]) -> int:
    """Where the container ends; -1 if it ends too late or has a value beyond `words`."""
    end = at + 8 * _WORDS
    if end > stop:
        return -1
    whole = len(words) & ~7
    for place in range(0, whole, 8):
        unite_lanes(words, place, blob, at + 8 * place)
    for place in range(whole, len(words)):
        words[place] |= load_u64(blob, at + 8 * place)
    for place in range(len(words), _WORDS):
        if load_u64(blob, at + 8 * place):
            return -1
    return end


@helper
def _add_runs(blob: NDArray[np.uint8], at: int, stop: int, words: NDArray[np.uint64]) -> int:
    """Where the container ends; -1 if it ends too late or has a value beyond `words`."""
    if at + 2 > stop:
        return -1
    runs = load_u16(blob, at)
    end: int = at + 2 + 4 * runs
    if end > stop:
        return -1
    for place in range(at + 2, end, 4):
        first = load_u16(blob, place)
        last = first + load_u16(blob, place + 2)
        if last >> 6 >= len(words):
            return -1
        head = _ALL << np.uint64(first & 63)
        tail = _ALL >> np.uint64(63 - (last & 63))
        if first >> 6 == last >> 6:
            words[first >> 6] |= head & tail
        else:
            words[first >> 6] |= head
            for middle in range((first >> 6) + 1, last >> 6):
                words[middle] = _ALL
            words[last >> 6] |= tail
    return end
