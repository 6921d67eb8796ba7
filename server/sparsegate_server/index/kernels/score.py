"""The definition of a score, and the scan that applies it to one document after another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import (
    F32,
    F32_OUT,
    F64_OUT,
    I64,
    TERMS,
    U8_OUT,
    U32,
    U32_OUT,
    U64,
)
from sparsegate_server.index.kernels.bits import LANES, lowest
from sparsegate_server.index.kernels.lanes import lanes_equal, prefetch
from sparsegate_server.index.kernels.registry import helper, kernel, signed

PIECE = 1024
"""Terms of a document that are looked up before the weights of those found are added."""

_FEW_TERMS = 64
"""A query of so many terms is compared with many terms of a document at once; one of more is looked
up in."""

_AHEAD = 6
_LINE = 64


class Vectors(NamedTuple):
    """Forward vectors as compressed sparse rows: int64 [n + 1], uint16 or uint32, float32."""

    indptr: NDArray[np.int64]
    terms: NDArray[Any]
    weights: NDArray[np.float32]


class Spread(NamedTuple):
    """A query, ready to be looked up in.

    Attributes:
        terms: uint32, its term ids.
        weights: float64 [more than the vocabulary], 0 where the query has no such term.
        member: uint8, as long, 1 where it has. Both are zero between searches.
        found: int64 [PIECE + 1], work space.
    """

    terms: NDArray[np.uint32]
    weights: NDArray[np.float64]
    member: NDArray[np.uint8]
    found: NDArray[np.int64]


@helper
def spread_out(spread: Spread, query_weights: NDArray[np.float32]) -> None:
    for number in range(len(spread.terms)):
        spread.weights[spread.terms[number]] = query_weights[number]
        spread.member[spread.terms[number]] = 1


@helper
def wipe(spread: Spread) -> None:
    for number in range(len(spread.terms)):
        spread.weights[spread.terms[number]] = 0.0
        spread.member[spread.terms[number]] = 0


@helper
def score_of(row: int, vectors: Vectors, spread: Spread) -> float:
    """Σ float64(query weight) · float64(document weight), added one at a time.

    A document's terms ascend, so the additions come in the order that the definition asks for.
    The product of two float32 is exact in float64, so that a fused multiplication could change no
    bit; terms that the query lacks would add zero and are passed over. The sum is zero if and only
    if no term is shared, even where it rounds to zero in float32.

    Past the query's last term nothing is read: where several models share an index, most of a row
    lies there.
    """
    total = 0.0
    if not len(spread.terms):
        return total
    last = spread.terms[len(spread.terms) - 1]
    begin, end = vectors.indptr[row], vectors.indptr[row + 1]
    if len(spread.terms) <= _FEW_TERMS and _whole_strides(row, vectors):
        for first in range(begin, end, LANES):
            if vectors.terms[first] > last:
                break
            matches = _lanes_shared(first, end - first, vectors, spread.terms)
            while matches:
                at = first + signed(lowest(matches))
                matches &= matches - np.uint64(1)
                total += spread.weights[vectors.terms[at]] * np.float64(vectors.weights[at])
        return total
    for first in range(begin, end, PIECE):
        if vectors.terms[first] > last:
            break
        for number in range(_places_shared(first, min(first + PIECE, end), vectors, spread)):
            at = spread.found[number]
            total += spread.weights[vectors.terms[at]] * np.float64(vectors.weights[at])
    return total


@helper
def _whole_strides(row: int, vectors: Vectors) -> bool:
    """Whether the terms of a row may be read in strides, the last of which may go beyond it."""
    begin, end = vectors.indptr[row], vectors.indptr[row + 1]
    return bool(begin + (end - begin + LANES - 1) // LANES * LANES <= len(vectors.terms))


@helper
def _lanes_shared(first: int, left: int, vectors: Vectors, terms: NDArray[np.uint32]) -> np.uint64:
    """A bit for each of the next terms of a row that is one of `terms`: a few terms are compared
    with many lanes at once."""
    matches = np.uint64(0)
    for number in range(len(terms)):
        matches |= lanes_equal(vectors.terms, first, terms[number])
    if left < LANES:
        matches &= (np.uint64(1) << np.uint64(left)) - np.uint64(1)
    return matches


@helper
def _places_shared(first: int, last: int, vectors: Vectors, spread: Spread) -> int:
    """Fills `found` with the places of terms that the query has, too: each is looked up."""
    matches = 0
    # The last place is beyond the vocabulary: a term of a damaged file finds a zero there.
    beyond = len(spread.member) - 1
    for at in range(first, last):
        # Without a branch: one document's matches tell nothing about the next one's.
        spread.found[matches] = at
        matches += spread.member[min(vectors.terms[at], beyond)]
    return matches


@helper
def fetch_row(row: int, vectors: Vectors) -> None:
    """Asks for a row that is to be scored soon: its lines lie anywhere in memory."""
    begin, end = vectors.indptr[row], vectors.indptr[row + 1]
    for at in range(begin, end, _LINE // vectors.terms.itemsize):
        prefetch(vectors.terms, at)
    for at in range(begin, end, _LINE // vectors.weights.itemsize):
        prefetch(vectors.weights, at)


@helper
def _scan(
    vectors: Vectors,
    spread: Spread,
    wanted: NDArray[np.uint32],
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    bar: np.float32,
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
) -> tuple[int, int]:
    found = 0
    scored = 0
    for number in range(len(wanted)):
        if number + _AHEAD < len(wanted):
            fetch_row(wanted[number + _AHEAD], vectors)
        row = wanted[number]
        if born[row] > sequence or dead[row] <= sequence:
            continue
        total = score_of(row, vectors, spread)
        scored += vectors.indptr[row + 1] - vectors.indptr[row]
        score = np.float32(total)
        if total > 0.0 and score > bar:
            scores[found] = score
            rows[found] = row
            found += 1
    return found, scored


@kernel(
    U32, F32, I64, TERMS, F32, U32, U64, U64, types.uint64, types.float32, F64_OUT, U8_OUT,
    F32_OUT, U32_OUT,
)  # fmt: skip
def scan_rows(
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    indptr: NDArray[np.int64],
    terms: NDArray[Any],
    weights: NDArray[np.float32],
    wanted: NDArray[np.uint32],
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    bar: np.float32,
    table: NDArray[np.float64],
    member: NDArray[np.uint8],
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
) -> tuple[int, int]:
    """Every wanted row that shares a term with the query, is visible at `sequence` and scores above
    `bar`, in the order given.

    Args:
        indptr, terms, weights: the forward vectors, as compressed sparse rows.
        table, member: work space by term id, see `Spread`.
        scores, rows: the answer; room for `len(wanted)` documents.

    Returns:
        How many documents were found, and how many weights were read.
    """
    vectors = Vectors(indptr, terms, weights)
    spread = Spread(query_terms, table, member, np.empty(PIECE + 1, np.int64))
    spread_out(spread, query_weights)
    counts = _scan(vectors, spread, wanted, born, dead, sequence, bar, scores, rows)
    wipe(spread)
    return counts
