"""In how many visible documents of a segment each term of a query occurs."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import I64, U8, U16, U32, U64
from sparsegate_server.index.kernels.bounds import find_term
from sparsegate_server.index.kernels.registry import helper, kernel
from sparsegate_server.index.kernels.windows import WINDOW


@helper
def _filled(dense: NDArray[np.uint8], start: int, documents: int) -> int:
    """How many documents of a column are not zero."""
    begin = np.uint64(start)
    count = 0
    for offset in range(np.uint64(documents)):
        count += dense[begin + offset] > 0
    return count


@kernel(U32, I64, U32, I64, U16, I64, U8, U64, U64, types.uint64, types.boolean)
def document_frequencies(
    query_terms: NDArray[np.uint32],
    window_terms: NDArray[np.int64],
    terms: NDArray[np.uint32],
    ranges: NDArray[np.int64],
    local_ids: NDArray[np.uint16],
    columns: NDArray[np.int64],
    dense: NDArray[np.uint8],
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    all_visible: bool,
) -> NDArray[np.int64]:
    """int64 [len(query_terms)]. With `all_visible` the length of a posting list is its count."""
    counts = np.zeros(len(query_terms), np.int64)
    for window in range(len(window_terms) - 1):
        first_row = window * WINDOW
        for number in range(len(query_terms)):
            at = find_term(
                terms, window_terms[window], window_terms[window + 1], query_terms[number]
            )
            if at < 0:
                continue
            if columns[at] >= 0:
                documents = min(WINDOW, len(born) - first_row)
                if all_visible:
                    counts[number] += _filled(dense, columns[at], documents)
                    continue
                for local in range(documents):
                    if dense[columns[at] + local] > 0:
                        row = first_row + local
                        counts[number] += born[row] <= sequence < dead[row]
                continue
            if all_visible:
                counts[number] += ranges[at + 1] - ranges[at]
                continue
            for posting in range(ranges[at], ranges[at + 1]):
                row = first_row + local_ids[posting]
                # The first comparison holds unless a file is damaged.
                if row < len(born) and born[row] <= sequence < dead[row]:
                    counts[number] += 1
    return counts
