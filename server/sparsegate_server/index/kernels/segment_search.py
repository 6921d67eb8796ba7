"""Exhaustive search of one segment: accumulate a window, select from it, go on."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.accumulate import accumulate_window
from sparsegate_server.index.kernels.arrays import (
    F32,
    F32_OUT,
    F64_OUT,
    I64,
    U16,
    U32,
    U32_OUT,
    U64,
)
from sparsegate_server.index.kernels.registry import kernel
from sparsegate_server.index.kernels.top_k import select_window

WINDOW = 65_536
"""Documents of a window: as many as a uint16 can name. Its float64 accumulators take 512 KiB and
stay in the second-level cache."""


@kernel(
    U32, F32, I64, U32, I64, U16, F32, U64, U64, types.uint64, types.float32,
    F64_OUT, F32_OUT, U32_OUT,
)  # fmt: skip
def search_segment(
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    window_terms: NDArray[np.int64],
    terms: NDArray[np.uint32],
    ranges: NDArray[np.int64],
    local_ids: NDArray[np.uint16],
    weights: NDArray[np.float32],
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    bar: np.float32,
    accumulator: NDArray[np.float64],
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
) -> tuple[int, int]:
    """The best `len(scores)` documents that are visible at `sequence` and score above `bar`.

    Args:
        query_terms, query_weights: ascending term ids and their weights.
        window_terms: int64 [windows + 1], where each window's dictionary begins in `terms`.
        terms: uint32, term ids, ascending within a window.
        ranges: int64 [len(terms) + 1], where each term's postings begin.
        local_ids, weights: the postings: document within its window, impact.
        born, dead: uint64 [documents], the sequence numbers between which a document lives.
        accumulator: float64 [WINDOW], all zero; it is left so.
        scores, rows: the answer, in heap order; its size must be at least 1.

    Returns:
        How many documents were found, and how many postings were read.
    """
    filled = 0
    scored = 0
    for window in range(len(window_terms) - 1):
        scored += accumulate_window(
            query_terms,
            query_weights,
            terms,
            ranges,
            local_ids,
            weights,
            window_terms[window],
            window_terms[window + 1],
            accumulator,
        )
        first_row = window * WINDOW
        documents = min(WINDOW, len(born) - first_row)
        filled, bar = select_window(
            accumulator, first_row, documents, born, dead, sequence, bar, scores, rows, filled
        )
    return filled, scored
