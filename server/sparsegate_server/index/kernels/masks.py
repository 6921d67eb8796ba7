"""Sets of rows as bit masks: row r is bit r % 64 of word r // 64, and no bit stands for no row.

Kernels that fill a mask take rows from files, so they look where they write.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import U8_OUT, U32, U32_OUT, U64, U64_OUT
from sparsegate_server.index.kernels.bits import lowest, population
from sparsegate_server.index.kernels.registry import helper, kernel

_ONE, _SIX, _LOW = np.uint64(1), np.uint64(6), np.uint64(63)

NO_BUCKET = 255
"""The bucket of a row that holds no point, and the number of buckets for those that do."""


@kernel(U64)
def count_bits(words: NDArray[np.uint64]) -> int:
    """How many bits are set."""
    return _count(words)


@kernel(U64, U64, U64_OUT)
def both(left: NDArray[np.uint64], right: NDArray[np.uint64], out: NDArray[np.uint64]) -> int:
    """The rows of left that are in right too; returns how many."""
    count = 0
    for place in range(len(out)):
        out[place] = left[place] & right[place]
        count += population(out[place])
    return count


@kernel(U64, U64, U64_OUT)
def either(left: NDArray[np.uint64], right: NDArray[np.uint64], out: NDArray[np.uint64]) -> int:
    """The rows of left and those of right; returns how many."""
    count = 0
    for place in range(len(out)):
        out[place] = left[place] | right[place]
        count += population(out[place])
    return count


@kernel(U64, U64, U64_OUT)
def without(left: NDArray[np.uint64], right: NDArray[np.uint64], out: NDArray[np.uint64]) -> int:
    """The rows of left that are not in right; returns how many."""
    count = 0
    for place in range(len(out)):
        out[place] = left[place] & ~right[place]
        count += population(out[place])
    return count


@kernel(U64, U32_OUT)
def list_rows(words: NDArray[np.uint64], out: NDArray[np.uint32]) -> None:
    """The rows in ascending order. `out` has a place for each."""
    found = 0
    for place in range(len(words)):
        word = words[place]
        while word:
            out[found] = np.uint64(place << 6) | lowest(word)
            word &= word - _ONE
            found += 1


@kernel(U32, types.int64, U64_OUT)
def add_rows(rows: NDArray[np.uint32], size: int, words: NDArray[np.uint64]) -> int:
    """Adds rows, in any order, repeated or not.

    Returns:
        How many rows there are now; -1 if one of the new ones is not below `size`.
    """
    if not add_all(rows, size, words):
        return -1
    return _count(words)


@kernel(U32, types.int64, types.int64, U8_OUT, U64_OUT)
def fill_buckets(
    rows: NDArray[np.uint32],
    size: int,
    step: int,
    buckets: NDArray[np.uint8],
    spare: NDArray[np.uint64],
) -> int:
    """Notes for each row the place of its first point in `rows`, divided by `step`.

    Args:
        rows: of all points, in the points' order.
        step: so long that no quotient reaches `NO_BUCKET`.
        buckets: `NO_BUCKET` in every place, of which there are `size`, rounded up to words.
        spare: zeroes, a bit for each point: set for those whose row has an earlier one.

    Returns:
        How many bits of `spare` are set; -1 if a row is not below `size`.
    """
    for place in range(len(rows)):
        row = rows[place]
        if row >= size:
            return -1
        if buckets[row] == NO_BUCKET:
            buckets[row] = place // step
        else:
            set_bit(spare, place)
    return _count(spare)


@kernel(U32, types.int64, U64_OUT, U64_OUT)
def held(
    rows: NDArray[np.uint32], size: int, every: NDArray[np.uint64], several: NDArray[np.uint64]
) -> bool:
    """Sorts rows out: adds all to `every`, and those that occur more than once to `several`.

    Returns:
        Whether all rows are below `size`.
    """
    for at in range(len(rows)):
        row = rows[at]
        if row >= size:
            return False
        place, bit = np.uint64(row) >> _SIX, _ONE << (np.uint64(row) & _LOW)
        several[place] |= every[place] & bit
        every[place] |= bit
    return True


@helper
def set_bit(words: NDArray[np.uint64], row: int) -> None:
    words[np.uint64(row) >> _SIX] |= _ONE << (np.uint64(row) & _LOW)


@helper
def add_all(rows: NDArray[np.uint32], size: int, words: NDArray[np.uint64]) -> bool:
    """Adds rows; says whether all are below `size`."""
    for at in range(len(rows)):
        if rows[at] >= size:
            return False
        set_bit(words, rows[at])
    return True


@helper
def _count(words: NDArray[np.uint64]) -> int:
    count = 0
    for place in range(len(words)):
        count += population(words[place])
    return count
