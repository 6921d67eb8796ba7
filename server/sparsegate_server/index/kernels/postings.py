"""Inverting forward vectors into postings: a counting sort by term, window by window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import (
    F32,
    F32_OUT,
    I32_OUT,
    I64,
    I64_OUT,
    TERMS,
    U8_OUT,
    U16_OUT,
    U32_OUT,
)
from sparsegate_server.index.kernels.registry import helper, kernel
from sparsegate_server.index.kernels.windows import (
    BLOCK,
    BLOCKED,
    BLOCKS,
    DENSE,
    WINDOW,
    padded,
)

_STEPS = 255
"""Greatest compact impact."""


@helper
def scale_for(heaviest: np.float32) -> np.float32:
    """The step between compact impacts: `_STEPS` of them reach `heaviest` or pass it."""
    scale = np.float32(np.float64(heaviest) / _STEPS)
    if np.float64(scale) * _STEPS < np.float64(heaviest):
        scale = np.nextafter(scale, np.float32(np.inf))
    return scale


@helper
def rounded_up(weight: np.float32, scale: np.float32) -> int:
    """The smallest compact impact that stands for `weight` or more. The product of a small integer
    and a float32 is exact in float64, so that the comparison is, too."""
    steps = int(np.ceil(np.float64(weight) / np.float64(scale)))
    while steps * np.float64(scale) < np.float64(weight):
        steps += 1
    return min(max(steps, 1), _STEPS)


@helper
def _counted(
    indptr: NDArray[np.int64],
    terms: NDArray[Any],
    weights: NDArray[np.float32],
    first: int,
    last: int,
    counts: NDArray[np.int64],
    heaviest: NDArray[np.float32],
) -> None:
    """Fills in how many of the rows `first` to `last` have each term, and its greatest weight."""
    counts[:] = 0
    heaviest[:] = 0
    for at in range(indptr[first], indptr[last]):
        counts[terms[at]] += 1
        heaviest[terms[at]] = max(heaviest[terms[at]], weights[at])


@helper
def _is_column(count: int, documents: int) -> bool:
    return count >= BLOCKED and count * DENSE >= documents


@kernel(I64, TERMS, F32, types.int64)
def measure(
    indptr: NDArray[np.int64],
    terms: NDArray[Any],
    weights: NDArray[np.float32],
    vocabulary: int,
) -> tuple[int, int, int, int]:
    """What `invert` makes of forward vectors: entries of all dictionaries, postings outside of
    columns, terms with block maxima, and bytes of columns."""
    documents = len(indptr) - 1
    counts = np.empty(vocabulary, np.int64)
    heaviest = np.empty(vocabulary, np.float32)
    entries = 0
    sparse = 0
    blocked = 0
    dense = 0
    for first in range(0, documents, WINDOW):
        last = min(first + WINDOW, documents)
        _counted(indptr, terms, weights, first, last, counts, heaviest)
        for term in range(vocabulary):
            count = int(counts[term])
            entries += count > 0
            blocked += count >= BLOCKED
            if _is_column(count, last - first):
                dense += padded(last - first)
            else:
                sparse += count
    return entries, sparse, blocked, dense


@kernel(
    I64, TERMS, F32, types.int64, I64_OUT, U32_OUT, I64_OUT, U16_OUT, U8_OUT, F32_OUT, I32_OUT,
    U8_OUT, I64_OUT, U8_OUT,
)  # fmt: skip
def invert(
    indptr: NDArray[np.int64],
    terms: NDArray[Any],
    weights: NDArray[np.float32],
    vocabulary: int,
    window_terms: NDArray[np.int64],
    dictionary: NDArray[np.uint32],
    ranges: NDArray[np.int64],
    local_ids: NDArray[np.uint16],
    impacts: NDArray[np.uint8],
    scales: NDArray[np.float32],
    blocks: NDArray[np.int32],
    maxima: NDArray[np.uint8],
    columns: NDArray[np.int64],
    dense: NDArray[np.uint8],
) -> None:
    """Groups the weights of each window by term; within a term the documents ascend.

    Args:
        window_terms to dense: the answer, as `Postings` describes it, of the sizes that `measure`
            tells; the last three must be zero.
    """
    documents = len(indptr) - 1
    heaviest = np.empty(vocabulary, np.float32)
    place = np.empty(vocabulary, np.int64)
    entry = np.empty(vocabulary, np.int64)
    known = 0
    blocked = 0
    begin = 0
    column = 0
    window_terms[0] = 0
    for window in range(len(window_terms) - 1):
        first = window * WINDOW
        last = min(first + WINDOW, documents)
        _counted(indptr, terms, weights, first, last, place, heaviest)
        # From the number of each term's postings to the place of its first one.
        for term in range(vocabulary):
            count = place[term]
            if count == 0:
                continue
            dictionary[known] = term
            ranges[known] = begin
            scales[known] = scale_for(heaviest[term])
            blocks[known] = blocked if count >= BLOCKED else -1
            blocked += count >= BLOCKED
            entry[term] = known
            if _is_column(count, last - first):
                columns[known] = column
                column += padded(last - first)
            else:
                columns[known] = -1
                place[term] = begin
                begin += count
            known += 1
        for row in range(first, last):
            for at in range(indptr[row], indptr[row + 1]):
                term = terms[at]
                own = entry[term]
                impact = rounded_up(weights[at], scales[own])
                if columns[own] >= 0:
                    dense[columns[own] + row - first] = impact
                else:
                    to = place[term]
                    local_ids[to] = row - first
                    impacts[to] = impact
                    place[term] = to + 1
                if blocks[own] >= 0:
                    slot = np.int64(blocks[own]) * BLOCKS + (row - first) // BLOCK
                    maxima[slot] = max(maxima[slot], impact)
        window_terms[window + 1] = known
    ranges[known] = begin
