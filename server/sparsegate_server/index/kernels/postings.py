"""Inverting forward vectors into postings: a counting sort by term, window by window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import F32, I64, TERMS
from sparsegate_server.index.kernels.registry import helper, kernel
from sparsegate_server.index.kernels.windows import BLOCK, BLOCKED, BLOCKS, WINDOW

_STEPS = 255
"""Greatest compact impact."""


@helper
def scale_for(heaviest: np.float32) -> np.float32:
    """The step between compact impacts: `_STEPS` of them reach `heaviest` or pass it."""
    scale = np.float32(np.float64(heaviest) / _STEPS)
    if np.float64(scale) * _STEPS < np.float64(heaviest):
        scale = np.nextafter(scale, np.float32(np.inf))
    return scale


@helper
def rounded_up(weight: np.float32, scale: np.float32) -> int:
    """The smallest compact impact that stands for `weight` or more. The product of a small integer
    and a float32 is exact in float64, so that the comparison is, too."""
    steps = int(np.ceil(np.float64(weight) / np.float64(scale)))
    while steps * np.float64(scale) < np.float64(weight):
        steps += 1
    return min(max(steps, 1), _STEPS)


@kernel(I64, TERMS, F32, types.int64)
def invert(
    indptr: NDArray[np.int64],
    terms: NDArray[Any],
    weights: NDArray[np.float32],
    vocabulary: int,
) -> tuple[
    NDArray[np.int64],
    NDArray[np.uint32],
    NDArray[np.int64],
    NDArray[np.uint16],
    NDArray[np.uint8],
    NDArray[np.float32],
    NDArray[np.int32],
    NDArray[np.uint8],
]:
    """Groups the weights of each window by term; within a term the documents ascend.

    Returns:
        `window_terms`, `terms`, `ranges`, `local_ids`, `impacts`, `scales`, `blocks` and
        `block_maxima` as `Postings` describes them.
    """
    documents = len(indptr) - 1
    windows = (documents + WINDOW - 1) // WINDOW
    postings = indptr[documents]
    most_terms = min(postings, windows * vocabulary)
    window_terms = np.zeros(windows + 1, np.int64)
    dictionary = np.empty(most_terms, np.uint32)
    ranges = np.zeros(most_terms + 1, np.int64)
    scales = np.empty(most_terms, np.float32)
    blocks = np.empty(most_terms, np.int32)
    local_ids = np.empty(postings, np.uint16)
    impacts = np.empty(postings, np.uint8)
    maxima = np.zeros((postings // BLOCKED) * BLOCKS, np.uint8)
    heaviest = np.empty(vocabulary, np.float32)
    place = np.empty(vocabulary, np.int64)
    entry = np.empty(vocabulary, np.int64)
    known = 0
    blocked = 0
    for window in range(windows):
        first = window * WINDOW
        last = min(first + WINDOW, documents)
        place[:] = 0
        heaviest[:] = 0
        for at in range(indptr[first], indptr[last]):
            place[terms[at]] += 1
            heaviest[terms[at]] = max(heaviest[terms[at]], weights[at])
        # From the number of each term's postings to the place of its first one.
        begin = indptr[first]
        for term in range(vocabulary):
            count = place[term]
            if count > 0:
                dictionary[known] = term
                ranges[known] = begin
                scales[known] = scale_for(heaviest[term])
                blocks[known] = blocked if count >= BLOCKED else -1
                blocked += count >= BLOCKED
                entry[term] = known
                known += 1
                place[term] = begin
                begin += count
        for row in range(first, last):
            for at in range(indptr[row], indptr[row + 1]):
                term = terms[at]
                to = place[term]
                impact = rounded_up(weights[at], scales[entry[term]])
                local_ids[to] = row - first
                impacts[to] = impact
                place[term] = to + 1
                block = blocks[entry[term]]
                if block >= 0:
                    slot = np.int64(block) * BLOCKS + (row - first) // BLOCK
                    maxima[slot] = max(maxima[slot], impact)
        window_terms[window + 1] = known
    ranges[known] = postings
    return (
        window_terms,
        dictionary[:known].copy(),
        ranges[: known + 1].copy(),
        local_ids,
        impacts,
        scales[:known].copy(),
        blocks[:known].copy(),
        maxima[: blocked * BLOCKS].copy(),
    )
