"""Scoring through forward vectors: the same sum as `accumulate`, one document at a time."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import F32, F32_OUT, F64_OUT, I64, U32, U32_OUT, U64
from sparsegate_server.index.kernels.registry import kernel


@kernel(
    U32, F32, I64, U32, F32, types.int64, types.int64, U64, U64, types.uint64, types.float32,
    F64_OUT, F32_OUT, U32_OUT,
)  # fmt: skip
def scan_forward(
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    indptr: NDArray[np.int64],
    terms: NDArray[np.uint32],
    weights: NDArray[np.float32],
    first_row: int,
    last_row: int,
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    bar: np.float32,
    table: NDArray[np.float64],
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
) -> tuple[int, int]:
    """Every document of `first_row..last_row` that shares a term with the query, is visible at
    `sequence` and scores above `bar`, in row order.

    A document's terms ascend, so the additions come in the order that the score's definition asks
    for.

    Args:
        indptr, terms, weights: the forward vectors, as compressed sparse rows.
        table: float64 [above every term id], all zero; it is left so.
        scores, rows: the answer; room for `last_row - first_row` documents.

    Returns:
        How many documents were found, and how many weights were read.
    """
    for number in range(len(query_terms)):
        table[query_terms[number]] = np.float64(query_weights[number])
    found = 0
    scored = 0
    for row in range(first_row, last_row):
        if born[row] > sequence or dead[row] <= sequence:
            continue
        total = 0.0
        for at in range(indptr[row], indptr[row + 1]):
            weight = table[terms[at]]
            if weight != 0.0:
                total += weight * np.float64(weights[at])
                scored += 1
        score = np.float32(total)
        if total > 0.0 and score > bar:
            scores[found] = score
            rows[found] = row
            found += 1
    for number in range(len(query_terms)):
        table[query_terms[number]] = 0.0
    return found, scored
