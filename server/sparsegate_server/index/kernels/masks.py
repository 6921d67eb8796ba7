"""Sets of rows as bit masks: row r is bit r % 64 of word r // 64, and no bit stands for no row.

Kernels that fill a mask take rows from files, so they look where they write.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import I64, U8, U8_OUT, U32, U32_OUT, U64, U64_OUT
from sparsegate_server.index.kernels.bits import lanes_within, lowest, population
from sparsegate_server.index.kernels.registry import helper, kernel
from sparsegate_server.index.kernels.roaring import add_roaring

_ONE, _SIX, _ALL = np.uint64(1), np.uint64(6), np.uint64(2**64 - 1)
_LOW = np.uint64(63)

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
    if not _add(rows, size, words):
        return -1
    return _count(words)


@kernel(I64, I64, U32, I64, U8, I64, types.int64, U64_OUT)
def add_terms(
    numbers: NDArray[np.int64],
    starts: NDArray[np.int64],
    rows: NDArray[np.uint32],
    heavy: NDArray[np.int64],
    blob: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    size: int,
    words: NDArray[np.uint64],
) -> int:
    """Adds the rows of the terms `numbers`, of which those below zero are none; see
    `filter.terms.Terms` for the rest.

    Returns:
        How many rows there are now; -1 if there is a row that is not below `size`, or a bitmap
        that is none.
    """
    for at in range(len(numbers)):
        number = numbers[at]
        if number < 0:
            continue
        place = np.searchsorted(heavy, number)
        if place < len(heavy) and heavy[place] == number:
            if not add_roaring(blob, offsets[place], offsets[place + 1], size, words):
                return -1
        elif not _add(rows[starts[number] : starts[number + 1]], size, words):
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
            _set(spare, place)
    return _count(spare)


@kernel(U32, U8, types.int64, U32, types.int64, types.int64, types.int64, U64_OUT)
def add_span(
    rows: NDArray[np.uint32],
    buckets: NDArray[np.uint8],
    step: int,
    spare: NDArray[np.uint32],
    low: int,
    high: int,
    size: int,
    words: NDArray[np.uint64],
) -> int:
    """Adds the rows of the points `low..high`: whole buckets by a look at every row's bucket, the
    points before and after them one by one.

    Args:
        rows, buckets, step: as `fill_buckets` had them.
        spare: the points whose row has an earlier one, ascending.

    Returns:
        How many rows there are now; -1 if one of the new ones is not below `size`.
    """
    first = (low + step - 1) // step
    last = (high + step - 1) // step if high == len(rows) else high // step
    if first >= last:
        if not _add(rows[low:high], size, words):
            return -1
        return _count(words)
    if not _add(rows[low : first * step], size, words):
        return -1
    if last * step < high and not _add(rows[last * step : high], size, words):
        return -1
    begin = np.searchsorted(spare, np.uint32(low))
    for at in range(begin, len(spare)):
        if spare[at] >= high:
            break
        if rows[spare[at]] >= size:
            return -1
        _set(words, rows[spare[at]])
    count = 0
    for place in range(len(words)):
        words[place] |= lanes_within(
            buckets, np.int64(place << 6), np.uint8(first), np.uint8(last - first)
        )
        count += population(words[place])
    return count


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


@kernel(U64, U64_OUT)
def tally(words: NDArray[np.uint64], planes: NDArray[np.uint64]) -> None:
    """Adds one to the counters of the rows in a mask.

    Args:
        planes: as many masks as a counter has bits, end to end, the lowest bit's first.
    """
    carry = words.copy()
    for start in range(0, len(planes), max(len(words), 1)):
        plane = planes[start : start + len(words)]
        for place in range(len(words)):
            before = plane[place]
            plane[place] = before ^ carry[place]
            carry[place] &= before


@kernel(U64, types.int64, U64_OUT)
def tallied(planes: NDArray[np.uint64], least: int, out: NDArray[np.uint64]) -> int:
    """The rows whose counters say at least `least`, which is 1 or more; returns how many."""
    # From the highest bit on: where counters are the same as `least` yet, and where they are more.
    same = np.full(len(out), _ALL)
    out[:] = np.uint64(0)
    for bit in range(len(planes) // max(len(out), 1) - 1, -1, -1):
        plane = planes[bit * len(out) : (bit + 1) * len(out)]
        if least >> bit & 1:
            for place in range(len(out)):
                same[place] &= plane[place]
        else:
            for place in range(len(out)):
                out[place] |= same[place] & plane[place]
                same[place] &= ~plane[place]
    count = 0
    for place in range(len(out)):
        out[place] |= same[place]
        count += population(out[place])
    return count


@helper
def _set(words: NDArray[np.uint64], row: int) -> None:
    words[np.uint64(row) >> _SIX] |= _ONE << (np.uint64(row) & _LOW)


@helper
def _add(rows: NDArray[np.uint32], size: int, words: NDArray[np.uint64]) -> bool:
    """Adds rows; says whether all are below `size`."""
    for at in range(len(rows)):
        if rows[at] >= size:
            return False
        _set(words, rows[at])
    return True


@helper
def _count(words: NDArray[np.uint64]) -> int:
    count = 0
    for place in range(len(words)):
        count += population(words[place])
    return count
