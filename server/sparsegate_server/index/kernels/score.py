"""The definition of a score, and the scan that applies it to one document after another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import (
    F32,
    F32_OUT,
    F64,
    I64,
    TERMS,
    U32,
    U32_OUT,
    U64,
)
from sparsegate_server.index.kernels.registry import helper, kernel


@helper
def score_of(
    row: int,
    indptr: NDArray[np.int64],
    terms: NDArray[Any],
    weights: NDArray[np.float32],
    table: NDArray[np.float64],
) -> float:
    """Σ float64(query weight) · float64(document weight), added one at a time.

    A document's terms ascend, so the additions come in the order that the definition asks for.
    The product of two float32 is exact in float64, so that a fused multiplication could change no
    bit; terms that the query lacks add zero. The sum is zero if and only if no term is shared, even
    where it rounds to zero in float32.

    Args:
        table: the query's weight by term id, 0 where it has none.
    """
    total = 0.0
    for at in range(indptr[row], indptr[row + 1]):
        # The comparison holds for every stored term; it keeps a damaged file from crashing us.
        if terms[at] < len(table):
            total += table[terms[at]] * np.float64(weights[at])
    return total


@kernel(
    I64, TERMS, F32, U32, U64, U64, types.uint64, types.float32, F64, F32_OUT, U32_OUT
)  # fmt: skip
def scan_rows(
    indptr: NDArray[np.int64],
    terms: NDArray[Any],
    weights: NDArray[np.float32],
    wanted: NDArray[np.uint32],
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    bar: np.float32,
    table: NDArray[np.float64],
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
) -> tuple[int, int]:
    """Every wanted row that shares a term with the query, is visible at `sequence` and scores above
    `bar`, in the order given.

    Args:
        indptr, terms, weights: the forward vectors, as compressed sparse rows.
        table: the query's weight by term id.
        scores, rows: the answer; room for `len(wanted)` documents.

    Returns:
        How many documents were found, and how many weights were read.
    """
    found = 0
    scored = 0
    for row in wanted:
        if born[row] > sequence or dead[row] <= sequence:
            continue
        total = score_of(row, indptr, terms, weights, table)
        scored += indptr[row + 1] - indptr[row]
        score = np.float32(total)
        if total > 0.0 and score > bar:
            scores[found] = score
            rows[found] = row
            found += 1
    return found, scored
