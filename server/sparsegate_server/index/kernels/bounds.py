"""Upper bounds on the scores of a window's documents, in integers of 16 bits.

An impact of `n` steps of a term's `scale` is at least the stored weight, so that the sum of query
weight · scale · n over the terms of a document is at least its score. The sum is taken in integers:
a term gets a coefficient c, and what a posting adds is ⌈c · n / 256⌉. With `factor` chosen so that
c / 256 ≥ factor · query weight · scale, the sum of what is added is at least factor · score. So a
document whose sum lies below factor · bar cannot score above `bar`; all others are scored by the
definition. What is added is never zero, so that a sum is zero only where no term is shared.

The coefficients fill the 16 bits as far as the block maxima allow: no document's sum can pass the
greatest sum of its block, which is computed first, in 32 bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.lanes import prefetch
from sparsegate_server.index.kernels.registry import helper, signed
from sparsegate_server.index.kernels.windows import BLOCKS

MOST_TERMS = 8192
"""Terms of a query: rounding up can add one to a sum for each, and half of all 16 bits must be left
for the rest. No more than the terms of a long document; beyond, documents are scored one by one."""

_BLOCKS = np.uint64(BLOCKS)
"""Unsigned: a signed place might count from the end, which keeps loops from being vectorised."""

_LINE = 64
_LINES = 4
"""Lines of a list that are brought on their way; then the processor sees where this is going."""

_MOST = 2**32 - 1
MOST_SUM = 2**16 - 1
"""What 16 bits hold."""

_SLACK = 1e-9
"""Far above the relative error of a sum of up to 2^20 float64 products, far below a step."""


class Lists(NamedTuple):
    """The postings of a segment, as `Postings` describes them."""

    terms: NDArray[np.uint32]
    ranges: NDArray[np.int64]
    local_ids: NDArray[np.uint16]
    impacts: NDArray[np.uint8]
    scales: NDArray[np.float32]
    blocks: NDArray[np.int32]
    block_maxima: NDArray[np.uint8]
    columns: NDArray[np.int64]
    dense: NDArray[np.uint8]
    directory: NDArray[np.int64]
    shift: int


class Scaled(NamedTuple):
    """A query in the integers of one window.

    Attributes:
        places: int64 [terms of the query], each term's entry of the window's dictionary, or -1.
        coefficients: uint32, parallel to `places`, c of each term that has an entry.
        bounds: uint32 [BLOCKS], the greatest sum that a document of each block can have.
    """

    places: NDArray[np.int64]
    coefficients: NDArray[np.uint32]
    bounds: NDArray[np.uint32]


@helper
def find_term(terms: NDArray[np.uint32], start: int, stop: int, wanted: int) -> int:
    """The place of `wanted` in the ascending `terms[start:stop]`, or -1."""
    low, high = start, stop
    while low < high:
        middle = (low + high) >> 1
        if terms[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    if low < stop and terms[low] == wanted:
        return low
    return -1


@helper
def contribution(coefficient: np.uint32, impact: np.uint8) -> np.uint32:
    """What a posting adds to a sum: its share of the coefficient, rounded up, a uint32."""
    return (coefficient * np.uint32(impact) + np.uint32(255)) >> np.uint32(8)


@helper
def greatest(bounds: NDArray[np.uint32]) -> int:
    """The greatest of all blocks' bounds."""
    most = np.uint32(0)
    for block in range(_BLOCKS):
        most = max(most, bounds[block])
    return signed(most)


@helper
def scale_query(
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    lists: Lists,
    window: int,
    windows: int,
    scaled: Scaled,
) -> float:
    """Looks the query's terms up in a window's dictionary and fills `scaled`.

    Args:
        window, windows: which of how many.

    Returns:
        `factor`, or 0 if the window has none of the terms.
    """
    places, coefficients = scaled.places, scaled.coefficients
    _find_terms(query_terms, lists, window, windows, places)
    total = 0.0
    present = 0
    for number in range(len(query_terms)):
        at = places[number]
        if at >= 0:
            present += 1
            total += np.float64(query_weights[number]) * np.float64(lists.scales[at])
    # Nothing was found, or a file is damaged.
    if not 0.0 < total < np.inf:
        return 0.0
    wide = (_MOST - 256.0 * present) / (255.0 * total) * (1.0 - _SLACK)
    for number in range(len(query_terms)):
        if places[number] >= 0:
            weight = np.float64(query_weights[number]) * np.float64(lists.scales[places[number]])
            coefficients[number] = np.uint32(np.ceil(weight * wide * (1.0 + _SLACK / 16)))
    bound_blocks(scaled, lists, scaled.bounds)
    # From 32 bits to 16: what rounding adds to a coefficient and to a posting has its room, too.
    narrowing = 256.0 * (MOST_SUM - 2 * present) / max(greatest(scaled.bounds), 1)
    for number in range(len(query_terms)):
        if places[number] >= 0:
            coefficients[number] = np.uint32(np.ceil(coefficients[number] * narrowing))
    for block in range(_BLOCKS):
        scaled.bounds[block] = np.uint32(
            np.ceil(scaled.bounds[block] * narrowing / 256.0) + 2 * present
        )
    return wide * narrowing / 256.0 * (1.0 - _SLACK)


@helper
def _find_terms(
    query_terms: NDArray[np.uint32],
    lists: Lists,
    window: int,
    windows: int,
    places: NDArray[np.int64],
) -> None:
    """Fills in each term's place in the window's dictionary, or -1.

    Nothing of it may be in the cache: so all terms are brought on their way before the first is
    looked for, and then what will be asked about those found.
    """
    buckets = (len(lists.directory) - 1) // windows
    for number in range(len(query_terms)):
        bucket = int(query_terms[number]) >> lists.shift
        places[number] = -1
        if bucket < buckets:
            places[number] = window * buckets + bucket
            prefetch(lists.directory, places[number])
    for number in range(len(query_terms)):
        if places[number] >= 0:
            prefetch(lists.terms, lists.directory[places[number]])
    for number in range(len(query_terms)):
        if places[number] < 0:
            continue
        start, stop = lists.directory[places[number]], lists.directory[places[number] + 1]
        at = find_term(lists.terms, start, stop, query_terms[number])
        places[number] = at
        if at >= 0:
            prefetch(lists.scales, at)
            prefetch(lists.blocks, at)
            prefetch(lists.ranges, at)
            prefetch(lists.columns, at)
    for number in range(len(query_terms)):
        at = places[number]
        if at < 0:
            continue
        if lists.blocks[at] >= 0:
            maxima = np.int64(lists.blocks[at]) * BLOCKS
            prefetch(lists.block_maxima, maxima)
            prefetch(lists.block_maxima, maxima + _LINE)
        start = lists.ranges[at]
        for line in range(_LINES):
            prefetch(lists.local_ids, start + line * (_LINE // 2))
        for line in range(0, _LINES, 2):
            prefetch(lists.impacts, start + line * (_LINE // 2))


@helper
def rescale_query(
    query_weights: NDArray[np.float32], lists: Lists, factor: float, scaled: Scaled
) -> None:
    """Fills in the coefficients for a factor that is not above that of `scale_query`, so that
    several windows can have one. The places are known."""
    for number in range(len(query_weights)):
        at = scaled.places[number]
        if at >= 0:
            weight = np.float64(query_weights[number]) * np.float64(lists.scales[at])
            coefficient = np.ceil(weight * factor * 256.0 * (1.0 + _SLACK))
            scaled.coefficients[number] = np.uint32(coefficient)


@helper
def cut_of(bar: np.float32, factor: float) -> int:
    """A document whose sum lies below this does not score above `bar`; at least 1."""
    return max(1, int(min(np.floor(np.float64(bar) * factor * (1.0 - _SLACK)), 2.0**31)))


@helper
def bound_blocks(scaled: Scaled, lists: Lists, bounds: NDArray[np.uint32]) -> None:
    """Fills `bounds` with the sum of coefficient · block maximum over all terms of a window."""
    bounds[:] = 0
    for number in range(len(scaled.places)):
        at = scaled.places[number]
        if at < 0:
            continue
        coefficient = scaled.coefficients[number]
        if lists.blocks[at] < 0:
            for block in range(_BLOCKS):
                bounds[block] += coefficient * np.uint32(255)
        else:
            start = np.uint64(lists.blocks[at]) * _BLOCKS
            for block in range(_BLOCKS):
                bounds[block] += coefficient * np.uint32(lists.block_maxima[start + block])


@helper
def add_bounds(at: int, coefficient: np.uint32, lists: Lists, bounds: NDArray[np.uint32]) -> None:
    """Adds to `bounds` the most that one term can add to a document of each block. The term must
    have block maxima."""
    start = np.uint64(lists.blocks[at]) * _BLOCKS
    for block in range(_BLOCKS):
        bounds[block] += contribution(coefficient, lists.block_maxima[start + block])
