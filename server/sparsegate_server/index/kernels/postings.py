"""Inversion of forward vectors into windowed postings, by counting sort."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import F32, I64, U32
from sparsegate_server.index.kernels.registry import kernel
from sparsegate_server.index.kernels.segment_search import WINDOW


@kernel(I64, U32, F32, types.int64)
def invert(
    indptr: NDArray[np.int64],
    terms: NDArray[np.uint32],
    weights: NDArray[np.float32],
    vocabulary: int,
) -> tuple[
    NDArray[np.int64],
    NDArray[np.uint32],
    NDArray[np.int64],
    NDArray[np.uint16],
    NDArray[np.float32],
]:
    """Groups the weights of each window by term; within a term the documents ascend.

    Returns:
        `window_terms`, `terms`, `ranges`, `local_ids` and `weights` as `search_segment` takes them.
    """
    documents = len(indptr) - 1
    windows = (documents + WINDOW - 1) // WINDOW
    postings = indptr[documents]
    most_terms = min(postings, windows * vocabulary)
    window_terms = np.zeros(windows + 1, np.int64)
    dictionary = np.empty(most_terms, np.uint32)
    ranges = np.zeros(most_terms + 1, np.int64)
    local_ids = np.empty(postings, np.uint16)
    impacts = np.empty(postings, np.float32)
    place = np.empty(vocabulary, np.int64)
    known = 0
    for window in range(windows):
        first = window * WINDOW
        last = min(first + WINDOW, documents)
        place[:] = 0
        for at in range(indptr[first], indptr[last]):
            place[terms[at]] += 1
        # From the number of each term's postings to the place of its first one.
        begin = indptr[first]
        for term in range(vocabulary):
            count = place[term]
            if count > 0:
                dictionary[known] = term
                ranges[known] = begin
                known += 1
                place[term] = begin
                begin += count
        for row in range(first, last):
            for at in range(indptr[row], indptr[row + 1]):
                to = place[terms[at]]
                local_ids[to] = row - first
                impacts[to] = weights[at]
                place[terms[at]] = to + 1
        window_terms[window + 1] = known
    ranges[known] = postings
    return window_terms, dictionary[:known].copy(), ranges[: known + 1].copy(), local_ids, impacts
