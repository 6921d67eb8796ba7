"""Small walks over rows: check, move, look for the visible."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import (
    F32,
    F32_OUT,
    I64,
    I64_OUT,
    TERMS,
    TERMS_OUT,
    U32,
    U64,
)
from sparsegate_server.index.kernels.registry import kernel

SOUND, UNSORTED, UNKNOWN_TERM, BAD_WEIGHT = 0, 1, 2, 3
"""What `check_rows` finds."""


@kernel(I64, U32, F32, types.int64, types.float32)
def check_rows(
    indptr: NDArray[np.int64],
    terms: NDArray[np.uint32],
    weights: NDArray[np.float32],
    vocabulary: int,
    heaviest: np.float32,
) -> tuple[int, int, int]:
    """Looks for the first weighted term that an index must not store.

    Returns:
        What is wrong (`SOUND` if nothing is), in which row, and at which place in that row.
    """
    for row in range(len(indptr) - 1):
        start = indptr[row]
        for at in range(start, indptr[row + 1]):
            if terms[at] >= vocabulary:
                return UNKNOWN_TERM, row, at - start
            if at > start and terms[at] <= terms[at - 1]:
                return UNSORTED, row, at - start
            # A NaN fails both comparisons.
            if not (weights[at] > 0.0 and weights[at] <= heaviest):
                return BAD_WEIGHT, row, at - start
    return SOUND, 0, 0


@kernel(I64, TERMS, F32, I64, I64, TERMS_OUT, F32_OUT)
def place_rows(
    indptr: NDArray[np.int64],
    terms: NDArray[Any],
    weights: NDArray[np.float32],
    destination: NDArray[np.int64],
    to_indptr: NDArray[np.int64],
    to_terms: NDArray[Any],
    to_weights: NDArray[np.float32],
) -> None:
    """Copies row i to row `destination[i]` of other sparse rows, or nowhere if that is -1."""
    for row in range(len(destination)):
        if destination[row] >= 0:
            to = to_indptr[destination[row]]
            start = indptr[row]
            for offset in range(indptr[row + 1] - start):
                to_terms[to + offset] = terms[start + offset]
                to_weights[to + offset] = weights[start + offset]


@kernel(I64, TERMS, I64, types.int64, types.int64, I64_OUT)
def count_terms(
    indptr: NDArray[np.int64],
    terms: NDArray[Any],
    rows: NDArray[np.int64],
    first: int,
    stop: int,
    counts: NDArray[np.int64],
) -> None:
    """Fills `counts` with how many terms of `first..stop` each of some sparse rows has."""
    for number in range(len(rows)):
        count = 0
        for at in range(indptr[rows[number]], indptr[rows[number] + 1]):
            count += first <= terms[at] < stop
        counts[number] = count


@kernel(U64, U64, types.uint64, types.int64, types.int64, types.int64)
def visible_rows(
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    first_row: int,
    last_row: int,
    limit: int,
) -> NDArray[np.int64]:
    """The first `limit` rows of `first_row..last_row` that are visible at `sequence`."""
    found = np.empty(max(0, min(limit, last_row - first_row)), np.int64)
    count = 0
    for row in range(first_row, last_row):
        if count == len(found):
            break
        if born[row] <= sequence < dead[row]:
            found[count] = row
            count += 1
    return found[:count]
