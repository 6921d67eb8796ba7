"""Exhaustive search of one segment: bound every document of a window, score those that may win."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import (
    F32,
    F32_OUT,
    F64,
    I32,
    I64,
    TERMS,
    U8,
    U16,
    U32,
    U32_OUT,
    U64,
)
from sparsegate_server.index.kernels.bounds import accumulate, bound_blocks, cut_of, scale_query
from sparsegate_server.index.kernels.registry import helper, kernel
from sparsegate_server.index.kernels.score import score_of
from sparsegate_server.index.kernels.top_k import offer
from sparsegate_server.index.kernels.windows import BLOCK, BLOCKS, WINDOW

_STRIDE = 64
_MOST = float(2**32 - 1)


@helper
def _promising(accumulator: NDArray[np.uint32], start: int, stop: int, cut: np.uint32) -> bool:
    """One vectorised look at a stride spares nearly every document the branches of scoring."""
    found = False
    for local in range(start, stop):
        found |= accumulator[local] >= cut
    return found


@kernel(
    U32, F32, I64, U32, I64, U16, U8, F32, I32, U8, I64, TERMS, F32, U64, U64, types.uint64,
    U8, types.float32, F64, U32_OUT, F32_OUT, U32_OUT,
)  # fmt: skip
def search_segment(
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    window_terms: NDArray[np.int64],
    terms: NDArray[np.uint32],
    ranges: NDArray[np.int64],
    local_ids: NDArray[np.uint16],
    impacts: NDArray[np.uint8],
    scales: NDArray[np.float32],
    blocks: NDArray[np.int32],
    block_maxima: NDArray[np.uint8],
    indptr: NDArray[np.int64],
    forward_terms: NDArray[Any],
    forward_weights: NDArray[np.float32],
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    allowed: NDArray[np.uint8],
    bar: np.float32,
    table: NDArray[np.float64],
    accumulator: NDArray[np.uint32],
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
) -> tuple[int, int]:
    """The best `len(scores)` documents that are visible at `sequence`, allowed, and score above
    `bar`.

    Args:
        query_terms, query_weights: ascending term ids and their weights.
        window_terms to block_maxima: the postings, as `Postings` describes them.
        indptr, forward_terms, forward_weights: the forward vectors.
        born, dead: uint64 [documents], the sequence numbers between which a document lives.
        allowed: uint8 [documents], not 0 where a filter lets a document pass; or empty, all pass.
        table: the query's weight by term id.
        accumulator: uint32 [WINDOW], all zero; it is left so.
        scores, rows: the answer, in heap order; its size must be at least 1.

    Returns:
        How many documents were found, and how many postings were read.
    """
    filled = 0
    scored = 0
    places = np.empty(len(query_terms), np.int64)
    coefficients = np.empty(len(query_terms), np.uint32)
    block_bounds = np.empty(BLOCKS, np.uint32)
    for window in range(len(window_terms) - 1):
        factor = scale_query(
            query_terms, query_weights, terms, scales, window_terms[window],
            window_terms[window + 1], places, coefficients,
        )  # fmt: skip
        if factor == 0.0:
            continue
        bound_blocks(places, coefficients, blocks, block_maxima, block_bounds)
        limit = cut_of(bar, factor)
        if limit > _MOST or block_bounds.max() < limit:
            continue
        cut = np.uint32(limit)
        first_row = window * WINDOW
        documents = min(WINDOW, len(born) - first_row)
        scored += accumulate(
            places, coefficients, ranges, local_ids, impacts, documents, accumulator
        )
        for start in range(0, documents, _STRIDE):
            stop = min(start + _STRIDE, documents)
            if block_bounds[start // BLOCK] >= cut and _promising(accumulator, start, stop, cut):
                for local in range(start, stop):
                    if accumulator[local] < cut:
                        continue
                    row = first_row + local
                    if born[row] > sequence or dead[row] <= sequence:
                        continue
                    if len(allowed) > 0 and allowed[row] == 0:
                        continue
                    total = score_of(row, indptr, forward_terms, forward_weights, table)
                    score = np.float32(total)
                    if total <= 0.0 or score <= bar:
                        continue
                    filled = offer(scores, rows, filled, score, row)
                    if filled == len(scores):
                        bar = scores[0]
                        limit = cut_of(bar, factor)
                        cut = np.uint32(min(limit, _MOST))
            for local in range(start, stop):
                accumulator[local] = 0
    return filled, scored
