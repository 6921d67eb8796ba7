"""Upper bounds on the scores of a window's documents, in integers.

An impact of `n` steps of a term's `scale` is at least the stored weight. With `factor` chosen so
that nothing overflows, each query term gets the coefficient c = ⌈query weight · scale · factor⌉.
Then Σ c · n, an exact sum of integers, is at least factor · score. So a document whose sum lies
below factor · bar cannot score above `bar`; all others are scored by the definition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.registry import helper
from sparsegate_server.index.kernels.windows import BLOCKS, WINDOW

_MOST = 2**32 - 1
_SLACK = 1e-9
"""Far above the relative error of a sum of up to 2^20 float64 products, far below a step."""


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
def scale_query(
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    terms: NDArray[np.uint32],
    scales: NDArray[np.float32],
    first_term: int,
    last_term: int,
    places: NDArray[np.int64],
    coefficients: NDArray[np.uint32],
) -> float:
    """Looks the query's terms up in a window's dictionary.

    Args:
        places: gets each term's entry of the dictionary, or -1.
        coefficients: gets c of each term that has one.

    Returns:
        `factor`, or 0 if the window has none of the terms.
    """
    total = 0.0
    for number in range(len(query_terms)):
        at = find_term(terms, first_term, last_term, query_terms[number])
        places[number] = at
        if at >= 0:
            total += np.float64(query_weights[number]) * np.float64(scales[at])
    if total == 0.0:
        return 0.0
    factor = (_MOST - 256.0 * len(query_terms)) / (255.0 * total) * (1.0 - _SLACK)
    for number in range(len(query_terms)):
        if places[number] >= 0:
            weight = np.float64(query_weights[number]) * np.float64(scales[places[number]])
            coefficients[number] = np.uint32(np.ceil(weight * factor * (1.0 + _SLACK / 16)))
    return factor


@helper
def cut_of(bar: np.float32, factor: float) -> float:
    """A document whose bound lies below this does not score above `bar`."""
    return float(max(1.0, np.floor(np.float64(bar) * factor * (1.0 - _SLACK))))


@helper
def bound_blocks(
    places: NDArray[np.int64],
    coefficients: NDArray[np.uint32],
    blocks: NDArray[np.int32],
    maxima: NDArray[np.uint8],
    bounds: NDArray[np.uint32],
) -> None:
    """Fills `bounds` with the greatest bound that a document of each block can have."""
    bounds[:] = 0
    for number in range(len(places)):
        at = places[number]
        if at < 0:
            continue
        coefficient = coefficients[number]
        if blocks[at] < 0:
            for block in range(BLOCKS):
                bounds[block] += coefficient * np.uint32(255)
        else:
            start = np.int64(blocks[at]) * BLOCKS
            for block in range(BLOCKS):
                bounds[block] += coefficient * np.uint32(maxima[start + block])


@helper
def accumulate(
    places: NDArray[np.int64],
    coefficients: NDArray[np.uint32],
    ranges: NDArray[np.int64],
    local_ids: NDArray[np.uint16],
    impacts: NDArray[np.uint8],
    documents: int,
    accumulator: NDArray[np.uint32],
) -> int:
    """Adds every posting of the query's terms to `accumulator`; returns how many there were.

    Args:
        documents: of the window.
    """
    scored = 0
    for number in range(len(places)):
        at = places[number]
        if at < 0:
            continue
        coefficient = coefficients[number]
        if documents == WINDOW:
            for posting in range(ranges[at], ranges[at + 1]):
                accumulator[local_ids[posting]] += coefficient * np.uint32(impacts[posting])
        else:
            for posting in range(ranges[at], ranges[at + 1]):
                # Holds unless a file is damaged; then nothing must be left for other searches.
                if local_ids[posting] < documents:
                    accumulator[local_ids[posting]] += coefficient * np.uint32(impacts[posting])
        scored += ranges[at + 1] - ranges[at]
    return scored
