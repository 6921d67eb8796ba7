"""Exact selection of the best documents of a window into a bounded heap.

The heap holds the best documents so far, the worst of them at the root: lowest score and, among
equals, largest row. Rows are offered in ascending order and rows are in id order, so a later
document has to beat the root, not to equal it: ties go to the smaller id without any comparison.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.registry import helper

_STRIDE = 64


@helper
def _worse(scores: NDArray[np.float32], rows: NDArray[np.uint32], a: int, b: int) -> bool:
    return bool(scores[a] < scores[b] or (scores[a] == scores[b] and rows[a] > rows[b]))


@helper
def _swap(scores: NDArray[np.float32], rows: NDArray[np.uint32], a: int, b: int) -> None:
    scores[a], scores[b] = scores[b], scores[a]
    rows[a], rows[b] = rows[b], rows[a]


@helper
def _sift_up(scores: NDArray[np.float32], rows: NDArray[np.uint32], place: int) -> None:
    while place > 0:
        parent = (place - 1) >> 1
        if not _worse(scores, rows, place, parent):
            return
        _swap(scores, rows, place, parent)
        place = parent


@helper
def _sift_down(scores: NDArray[np.float32], rows: NDArray[np.uint32], size: int) -> None:
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            return
        if child + 1 < size and _worse(scores, rows, child + 1, child):
            child += 1
        if not _worse(scores, rows, child, place):
            return
        _swap(scores, rows, child, place)
        place = child


@helper
def select_window(
    accumulator: NDArray[np.float64],
    first_row: int,
    documents: int,
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    bar: np.float32,
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
    filled: int,
) -> tuple[int, np.float32]:
    """Offers the window's visible documents to the heap and zeroes `accumulator[:documents]`.

    Args:
        bar: only scores above it are of interest.
        scores, rows: the heap, of which the first `filled` places are taken.

    Returns:
        The new `filled` and the new `bar` (the root's score once the heap is full).
    """
    for start in range(0, documents, _STRIDE):
        stop = min(start + _STRIDE, documents)
        # Rounding is monotone: float32(total) > bar implies total > bar. One vectorised look at
        # the stride therefore spares nearly every document the branches below.
        limit = max(np.float64(bar), 0.0)
        promising = False
        for local in range(start, stop):
            promising |= accumulator[local] > limit
        if promising:
            for local in range(start, stop):
                total = accumulator[local]
                score = np.float32(total)
                row = first_row + local
                if total <= 0.0 or score <= bar:
                    continue
                if born[row] > sequence or dead[row] <= sequence:
                    continue
                if filled < len(scores):
                    scores[filled] = score
                    rows[filled] = row
                    _sift_up(scores, rows, filled)
                    filled += 1
                else:
                    scores[0] = score
                    rows[0] = row
                    _sift_down(scores, rows, filled)
                if filled == len(scores):
                    bar = scores[0]
        for local in range(start, stop):
            accumulator[local] = 0.0
    return filled, bar
