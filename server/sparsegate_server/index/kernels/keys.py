"""Searching and merging sorted byte strings that lie end to end in one array."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import I64, U8, U32, U64_OUT
from sparsegate_server.index.kernels.registry import helper, kernel

_INTEGER_BYTES = 9
"""A zero and eight bytes, the most significant first."""


@helper
def _before(
    a: NDArray[np.uint8],
    a_start: int,
    a_stop: int,
    b: NDArray[np.uint8],
    b_start: int,
    b_stop: int,
) -> bool:
    """Whether `a[a_start:a_stop]` comes before `b[b_start:b_stop]` in byte order."""
    length = min(a_stop - a_start, b_stop - b_start)
    for offset in range(length):
        left, right = a[a_start + offset], b[b_start + offset]
        if left != right:
            return bool(left < right)
    return a_stop - a_start < b_stop - b_start


@kernel(U8, I64, U8, I64)
def lower_bounds(
    blob: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    wanted_blob: NDArray[np.uint8],
    wanted_offsets: NDArray[np.int64],
) -> NDArray[np.int64]:
    """For every wanted key the first place whose key does not come before it."""
    places = np.empty(len(wanted_offsets) - 1, np.int64)
    for number in range(len(places)):
        start, stop = wanted_offsets[number], wanted_offsets[number + 1]
        low, high = 0, len(offsets) - 1
        while low < high:
            middle = (low + high) >> 1
            if _before(blob, offsets[middle], offsets[middle + 1], wanted_blob, start, stop):
                low = middle + 1
            else:
                high = middle
        places[number] = low
    return places


@kernel(U8, I64, U8, I64)
def find_keys(
    blob: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    wanted_blob: NDArray[np.uint8],
    wanted_offsets: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The place of every wanted key, or -1."""
    places = lower_bounds(blob, offsets, wanted_blob, wanted_offsets)
    for number in range(len(places)):
        start, stop = wanted_offsets[number], wanted_offsets[number + 1]
        at = places[number]
        if at == len(offsets) - 1 or _before(
            wanted_blob, start, stop, blob, offsets[at], offsets[at + 1]
        ):
            places[number] = -1
    return places


@kernel(U8, I64, I64)
def merge_order(
    blob: NDArray[np.uint8], offsets: NDArray[np.int64], runs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The order that sorts keys which lie in sorted runs.

    Run r is the keys `runs[r]..runs[r + 1]`. There are a handful of runs, so that the smallest
    head is found by looking at each.
    """
    heads = runs[:-1].copy()
    order = np.empty(runs[-1], np.int64)
    for place in range(len(order)):
        best = -1
        for run in range(len(heads)):
            head = heads[run]
            if head == runs[run + 1]:
                continue
            if best < 0 or _before(
                blob,
                offsets[head],
                offsets[head + 1],
                blob,
                offsets[heads[best]],
                offsets[heads[best] + 1],
            ):
                best = run
        order[place] = heads[best]
        heads[best] += 1
    return order


@kernel(U8, I64, U32, U64_OUT)
def read_integers(
    blob: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    rows: NDArray[np.uint32],
    integers: NDArray[np.uint64],
) -> bool:
    """Fills `integers` with those that the keys of `rows` stand for, see `index.ids`. Returns
    whether all of these keys stand for integers."""
    for number in range(len(rows)):
        start = offsets[rows[number]]
        if offsets[rows[number] + 1] - start != _INTEGER_BYTES or blob[start] != 0:
            return False
        value = np.uint64(0)
        for at in range(start + 1, start + _INTEGER_BYTES):
            value = value << np.uint64(8) | np.uint64(blob[at])
        integers[number] = value
    return True
