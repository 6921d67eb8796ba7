"""Exact selection of the best documents of a segment with a bounded heap.

The heap holds the best documents so far, the worst of them at the root: lowest score and, among
equals, largest row. Rows are in id order, so that ties go to the smaller id.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.registry import helper


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
def offer(
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
    filled: int,
    score: np.float32,
    row: int,
) -> int:
    """Adds a document to the heap, of which the first `filled` places are taken; a full heap keeps
    the better of it and the root. Returns the new `filled`."""
    if filled < len(scores):
        scores[filled] = score
        rows[filled] = row
        _sift_up(scores, rows, filled)
        return filled + 1
    if score > scores[0] or (score == scores[0] and row < rows[0]):
        scores[0] = score
        rows[0] = row
        _sift_down(scores, rows, filled)
    return filled
