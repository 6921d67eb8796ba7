"""Postings that grow at their end: a chain for each term through the weights of a tail.

A chain goes from a term's oldest weight to its newest. It is walked while it grows: whatever is
appended meanwhile lies behind the weights that a view knows of, and ends the walk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import (
    F32,
    F32_OUT,
    I64,
    TERMS,
    U32,
    U32_OUT,
    U64,
    U64_OUT,
)
from sparsegate_server.index.kernels.registry import helper, kernel

NO_LINK = 2**32 - 1
"""Behind the last weight of a chain, and where a term has none."""

_NONE = np.uint64(NO_LINK)
_HALF = np.uint64(32)

_TOGETHER = 8
"""Chains that are walked at once."""


@kernel(I64, TERMS, types.int64, types.int64, U32_OUT, U32_OUT, U64_OUT)
def chain_rows(
    indptr: NDArray[np.int64],
    terms: NDArray[Any],
    first_row: int,
    last_row: int,
    first: NDArray[np.uint32],
    last: NDArray[np.uint32],
    links: NDArray[np.uint64],
) -> None:
    """Appends the weights of some rows to the chains of their terms.

    Args:
        indptr, terms: of the forward vectors.
        first, last: by term id, the place of its oldest and its newest weight, or `NO_LINK`.
        links: parallel to `terms`; the upper half is the row of a weight, the lower half the place
            of the next weight of its term, or `NO_LINK`.
    """
    for row in range(first_row, last_row):
        own = np.uint64(row) << _HALF
        for at in range(indptr[row], indptr[row + 1]):
            term = terms[at]
            links[at] = own | _NONE
            if first[term] == NO_LINK:
                first[term] = at
            else:
                # One store of a whole word: who walks by sees the chain end here or go on.
                before = last[term]
                links[before] = (links[before] >> _HALF << _HALF) | np.uint64(at)
            last[term] = at


@helper
def _walk(
    terms: NDArray[np.uint32],
    first: NDArray[np.uint32],
    links: NDArray[np.uint64],
    stored: int,
    rows: int,
    places: NDArray[np.uint32],
    lengths: NDArray[np.int64],
) -> None:
    """Lists the places of some terms' weights: all chains at once, step by step, because each
    step waits for memory.

    Args:
        rows: room for each term in `places`.
        lengths: int64, zero; how many places of each term there are.
    """
    going = len(terms)
    while going > 0:
        going = 0
        for number in range(len(terms)):
            length = lengths[number]
            if length < 0:
                continue
            before = places[number * rows + length - 1]
            at = links[before] & _NONE if length > 0 else np.uint64(first[terms[number]])
            if at >= np.uint64(stored):
                lengths[number] = -1 - length
                continue
            places[number * rows + length] = at
            lengths[number] = length + 1
            going += 1
    for number in range(len(terms)):
        lengths[number] = -1 - lengths[number]


@kernel(
    U32, F32, U32, U64, F32, types.int64, U64, U64, types.uint64, U64, types.float32, F32_OUT,
    U32_OUT,
)  # fmt: skip
def search_chains(
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    first: NDArray[np.uint32],
    links: NDArray[np.uint64],
    weights: NDArray[np.float32],
    stored: int,
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    allowed: NDArray[np.uint64],
    bar: np.float32,
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
) -> tuple[int, int]:
    """Every row that shares a term with the query, is visible at `sequence`, allowed, and scores
    above `bar`, in ascending order.

    Terms are added in ascending order, each as it is defined, so that the sums are the scores.

    Args:
        stored: weights before it belong to the rows.
        allowed: uint64, a bit for each row that a filter lets pass; or empty, all pass.
        scores, rows: the answer; room for all rows.

    Returns:
        How many rows were found, and how many weights were read.
    """
    sums = np.zeros(len(rows), np.float64)
    known = np.searchsorted(query_terms, len(first))
    places = np.empty(_TOGETHER * len(rows), np.uint32)
    read = 0
    for begin in range(0, known, _TOGETHER):
        own = query_terms[begin : min(begin + _TOGETHER, known)]
        lengths = np.zeros(_TOGETHER, np.int64)
        _walk(own, first, links, stored, len(rows), places, lengths)
        for number in range(len(own)):
            weight = np.float64(query_weights[begin + number])
            for step in range(lengths[number]):
                at = places[number * len(rows) + step]
                sums[links[at] >> _HALF] += weight * np.float64(weights[at])
            read += lengths[number]
    found = 0
    for row in range(len(rows)):
        score = np.float32(sums[row])
        if sums[row] == 0.0 or score <= bar or born[row] > sequence or dead[row] <= sequence:
            continue
        if len(allowed) > 0 and not allowed[row >> 6] >> np.uint64(row & 63) & np.uint64(1):
            continue
        scores[found] = score
        rows[found] = row
        found += 1
    return found, read
