"""A first cut while there is no bar: high, so that few documents are scored before there is one,
and not sound, so that the rest must be looked at again once there is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bits import LANES, lowest, population
from sparsegate_server.index.kernels.lanes import lanes_reaching
from sparsegate_server.index.kernels.race import passing
from sparsegate_server.index.kernels.registry import helper, signed

_SAMPLE = 256
"""Strides that are looked at."""

_HIGHEST, _FINEST = 15, 4
"""Bits of a sum that the cut is made of; the rest would only sharpen a guess."""

TOO_MANY = -1
"""Instead of how many documents are listed."""


class Reached(NamedTuple):
    """Room for a list of documents whose sums reach a cut.

    Attributes:
        sums, rows: uint16 and uint32, parallel.
    """

    sums: NDArray[np.uint16]
    rows: NDArray[np.uint32]


@helper
def optimistic_cut(
    sums: NDArray[np.uint16],
    first_row: int,
    first: int,
    last: int,
    allowed: NDArray[np.uint64],
    wanted: int,
) -> int:
    """About `wanted` sums of the documents `first` to `last` that are allowed, or some more, reach
    it; at least 1.

    In a sample of the strides so many do as the whole lets expect, and twice the standard
    deviation of that more.
    """
    step = max(1, (last - first) // (LANES * _SAMPLE))
    expected = wanted / step
    enough = int(np.ceil(expected + (2.0 * np.sqrt(expected) if step > 1 else 0.0)))
    cut = 0
    for bit in range(_HIGHEST, _FINEST - 1, -1):
        count = 0
        for stride in range(first, last, LANES * step):
            reaching = lanes_reaching(sums, stride, np.uint16(cut | (1 << bit)))
            count += population(reaching & passing(allowed, first_row + stride))
            if count >= enough:
                cut |= 1 << bit
                break
    return max(cut, 1)


@helper
def list_reaching(
    sums: NDArray[np.uint16],
    first_row: int,
    first: int,
    last: int,
    allowed: NDArray[np.uint64],
    cut: int,
    reached: Reached,
) -> int:
    """Lists those of the documents `first` to `last` that are allowed and whose sums reach `cut`.
    Returns how many there are, or `TOO_MANY`."""
    count = 0
    for stride in range(first, last, LANES):
        reaching = lanes_reaching(sums, stride, np.uint16(cut))
        reaching &= passing(allowed, first_row + stride)
        if count + signed(population(reaching)) > len(reached.sums):
            return TOO_MANY
        while reaching:
            place = stride + signed(lowest(reaching))
            reaching &= reaching - np.uint64(1)
            reached.sums[count] = sums[place]
            reached.rows[count] = first_row + place
            # What lies behind the last document is of a damaged file.
            count += place < last
    return count


@helper
def sharpened_cut(reached: Reached, count: int, cut: int, wanted: int) -> int:
    """The greatest cut, not below `cut`, that `wanted` of the listed sums reach."""
    low, high = cut, 2**16 - 1
    while low < high:
        middle = (low + high + 1) >> 1
        above = 0
        for number in range(count):
            above += reached.sums[number] >= middle
        if above >= wanted:
            low = middle
        else:
            high = middle - 1
    return low


@helper
def keep_reaching(reached: Reached, count: int, cut: int) -> int:
    """Shortens a list to those whose sums reach `cut`. Returns how many there are."""
    kept = 0
    for number in range(count):
        reached.rows[kept] = reached.rows[number]
        kept += reached.sums[number] >= cut
    return kept
