"""Term-at-a-time accumulation of one window.

The score of a document is Σ float64(query weight) · float64(document weight), added one at a time
in ascending term id. Walking the query's terms in ascending order and adding each posting to the
accumulator of its document performs, for every document, exactly these additions in exactly this
order; terms that the document lacks add nothing. So the accumulator *is* that sum, bit for bit.

The product of two float32 has at most 48 significant bits and an exponent far inside float64's
range: it is exact in float64. Hence it makes no difference whether a compiler fuses the
multiplication into the addition, and an accumulator is above zero if and only if its document
shares a term with the query, even where the score rounds to 0.0 in float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.registry import helper


@helper
def find_term(terms: NDArray[np.uint32], start: int, stop: int, wanted: int) -> int:
    """The place of `wanted` in the ascending `terms[start:stop]`, or -1."""
    low, high = start, stop
    while low < high:
        middle = (low + high) >> 1
        if terms[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    if low < stop and terms[low] == wanted:
        return low
    return -1


@helper
def accumulate_window(
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    terms: NDArray[np.uint32],
    ranges: NDArray[np.int64],
    local_ids: NDArray[np.uint16],
    weights: NDArray[np.float32],
    first_term: int,
    last_term: int,
    accumulator: NDArray[np.float64],
) -> int:
    """Adds every posting of the query's terms to `accumulator`; returns how many there were.

    `terms[first_term:last_term]` is the window's dictionary and `ranges` says where the postings
    of each of its terms lie.
    """
    scored = 0
    for number in range(len(query_terms)):
        at = find_term(terms, first_term, last_term, query_terms[number])
        if at < 0:
            continue
        weight = np.float64(query_weights[number])
        for posting in range(ranges[at], ranges[at + 1]):
            accumulator[local_ids[posting]] += weight * np.float64(weights[posting])
        scored += ranges[at + 1] - ranges[at]
    return scored
