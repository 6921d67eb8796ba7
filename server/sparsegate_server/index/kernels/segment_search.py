"""Search of one segment: which algorithm goes over which of its windows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import (
    F32,
    F32_OUT,
    F64_OUT,
    I32,
    I64,
    TERMS,
    U8,
    U8_OUT,
    U16,
    U16_OUT,
    U32,
    U32_OUT,
    U64,
)
from sparsegate_server.index.kernels.bounds import (
    Lists,
    Scaled,
    cut_of,
    greatest,
    rescale_query,
    scale_query,
)
from sparsegate_server.index.kernels.columns import TOGETHER, Columns
from sparsegate_server.index.kernels.deferral import defer, defer_nothing, most_of
from sparsegate_server.index.kernels.exhaustive import add_up, clear, enter_best, missed
from sparsegate_server.index.kernels.pruned import search_promising
from sparsegate_server.index.kernels.race import (
    FILLED,
    QUEUE,
    READ,
    STATE,
    Race,
    finish,
    resume,
)
from sparsegate_server.index.kernels.registry import helper, kernel
from sparsegate_server.index.kernels.score import PIECE, Spread, Vectors, spread_out, wipe
from sparsegate_server.index.kernels.window import Window, span_of
from sparsegate_server.index.kernels.windows import BLOCK, BLOCKS, WINDOW

STEPWISE, WHOLE, RARE = range(3)
"""Ways through a segment: window after window against a rising bar; all windows added up before any
document is scored; the same, but only postings of documents that are allowed."""

_FIRST_STEP = 16_384
"""Documents that are searched exhaustively before there is a bar; if they give none, it takes whole
windows. A multiple of a block."""

_RESCORED = 10
"""Where not all effort is made, so many documents are scored beyond those wanted, times the square
root of those wanted."""

_REACHED = 4096
"""Sums among which the first cut is sharpened."""


class Asked(NamedTuple):
    """The query: ascending term ids and their weights."""

    terms: NDArray[np.uint32]
    weights: NDArray[np.float32]


@helper
def _search_whole(
    asked: Asked,
    window: Window,
    lists: Lists,
    race: Race,
    window_terms: NDArray[np.int64],
    sums: NDArray[np.uint16],
    reached: NDArray[np.uint16],
    places: NDArray[np.int64],
    later: NDArray[np.uint32],
    documents: int,
    rarely: bool,
    effort: float,
) -> tuple[int, int, float]:
    """Adds all windows up before any document is scored, in sums of one factor, so that the best
    of them all can be scored first.

    With less than all effort, terms that cost much for what they can add are left out, and only
    the documents with the best sums are scored: what the others may be worth is bounded by their
    sums and by what was left out.
    """
    windows, size = len(window_terms) - 1, len(asked.terms)
    common = np.inf
    for number in range(windows):
        scaled = _placed(window.scaled, places[number * size : (number + 1) * size])
        factor = scale_query(asked.terms, asked.weights, lists, number, windows, scaled)
        if factor > 0.0:
            common = min(common, factor)
    if common == np.inf:
        return 0, 0, -1.0
    read = 0
    for number in range(windows):
        scaled = _placed(window.scaled, places[number * size : (number + 1) * size])
        rescale_query(asked.weights, lists, common, scaled)
        own_window = Window(scaled, window.columns, window.deferred, window.later, window.rest)
        first_row = number * WINDOW
        own = min(WINDOW, documents - first_row)
        defer_nothing(own_window)
        if effort < 1.0:
            defer(own_window, lists, int(_most(scaled) * (1.0 - effort)), own, True)
        for block in range(BLOCKS):
            later[number * BLOCKS + block] = window.later[block]
        part = sums[first_row : first_row + WINDOW]
        read += add_up(own_window, lists, first_row, 0, own, own, part, race.allowed, rarely)
    limit = len(race.scores)
    if effort < 1.0:
        wanted = limit + int(_RESCORED * np.sqrt(limit))
        floor = enter_best(race, sums, 0, 0, documents, wanted, False, common, reached)
        beyond = missed(sums, later, documents, floor, common)
    else:
        enter_best(race, sums, 0, 0, documents, limit, True, common, reached)
        clear(sums, 0, documents)
        beyond = -1.0
    return read, 0, beyond


@helper
def _placed(scaled: Scaled, places: NDArray[np.int64]) -> Scaled:
    return Scaled(places, scaled.coefficients, scaled.bounds)


@helper
def _most(scaled: Scaled) -> int:
    """The most that all terms can add to any document."""
    most = 0
    for number in range(len(scaled.places)):
        if scaled.places[number] >= 0:
            most += most_of(scaled.coefficients[number])
    return most


@helper
def _search_stepwise(
    asked: Asked,
    window: Window,
    lists: Lists,
    race: Race,
    window_terms: NDArray[np.int64],
    sums: NDArray[np.uint16],
    reached: NDArray[np.uint16],
    documents: int,
) -> tuple[int, int, float]:
    """One window after another, the first documents exhaustively: they give a bar that spares work
    on the others."""
    read, skipped = 0, 0
    step = _FIRST_STEP
    windows = len(window_terms) - 1
    for number in range(windows):
        factor = scale_query(asked.terms, asked.weights, lists, number, windows, window.scaled)
        if factor == 0.0:
            continue
        first_row = number * WINDOW
        own = min(WINDOW, documents - first_row)
        begin, last = 0, own
        if len(race.allowed) > 0:
            begin, last = span_of(race.allowed[first_row >> 6 :], 0, own)
            begin = begin // BLOCK * BLOCK
        while begin < last and cut_of(race.bar[0], factor) == 1:
            end = min(last, begin + step)
            defer_nothing(window)
            read += add_up(window, lists, first_row, begin, end, own, sums, race.allowed, False)
            enter_best(race, sums, first_row, begin, end, len(race.scores), True, factor, reached)
            clear(sums, begin, end)
            begin, step = end, WINDOW
        if greatest(window.scaled.bounds) < cut_of(race.bar[0], factor):
            skipped += (last - begin + BLOCK - 1) // BLOCK
        elif begin < last:
            more, passed = search_promising(
                window, lists, race, first_row, begin, last, own, factor, sums
            )
            read, skipped = read + more, skipped + passed
    return read, skipped, -1.0


@kernel(
    I64, U32, I64, U16, U8, F32, I32, U8, I64, U8, I64, types.int64, I64, TERMS, F32, U64, U64,
    U64, U32, F32, types.uint64, types.boolean, U64, types.int64, types.float64, types.float32,
    F64_OUT, U8_OUT, U16_OUT, F32_OUT, U32_OUT, types.int64, F32_OUT, U32_OUT,
)  # fmt: skip
def search_segment(
    window_terms: NDArray[np.int64],
    terms: NDArray[np.uint32],
    ranges: NDArray[np.int64],
    local_ids: NDArray[np.uint16],
    impacts: NDArray[np.uint8],
    scales: NDArray[np.float32],
    blocks: NDArray[np.int32],
    block_maxima: NDArray[np.uint8],
    column_starts: NDArray[np.int64],
    dense: NDArray[np.uint8],
    directory: NDArray[np.int64],
    shift: int,
    indptr: NDArray[np.int64],
    forward_terms: NDArray[Any],
    forward_weights: NDArray[np.float32],
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    touched: NDArray[np.uint64],
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    sequence: np.uint64,
    settled: bool,
    allowed: NDArray[np.uint64],
    way: int,
    effort: float,
    bar: np.float32,
    table: NDArray[np.float64],
    member: NDArray[np.uint8],
    sums: NDArray[np.uint16],
    best_scores: NDArray[np.float32],
    best_rows: NDArray[np.uint32],
    filled: int,
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
) -> tuple[int, int, np.float32, int, int, float]:
    """The documents that are visible at `sequence`, allowed, score above `bar`, and are among the
    best of all parts so far.

    Args:
        window_terms to shift: the postings, as `Postings` describes them.
        indptr, forward_terms, forward_weights: the forward vectors.
        born, dead, touched, sequence, settled, allowed: see `Race`.
        query_terms, query_weights: ascending term ids and their weights, at most `MOST_TERMS`.
        way: through the segment: `STEPWISE`, `WHOLE`, or `RARE`, which needs `allowed`.
        effort: 1 to find all of the best; less, above 0, to read less; it needs another way than
            `STEPWISE`.
        table, member: work space by term id, see `Spread`.
        sums: uint16 [at least the documents, filled up to whole windows], zero; it is left so.
        best_scores, best_rows, filled: the best so far, as a heap; it goes on with those found.
            There must be at least one place.
        scores, rows: the answer, in no order: room for as many, or for all documents.

    Returns:
        How many documents were found, how many places of the heap are taken, the bar that it
        makes, how many postings and forward weights were read, how many
        blocks were passed over, and what no document scores above that was missed, -1 if none was.
    """
    lists = Lists(
        terms, ranges, local_ids, impacts, scales, blocks, block_maxima, column_starts, dense,
        directory, shift,
    )  # fmt: skip
    spread = Spread(query_terms, table, member, np.empty(PIECE + 1, np.int64))
    race = Race(
        Vectors(indptr, forward_terms, forward_weights),
        spread, born, dead, touched, sequence, settled, allowed, best_scores, best_rows,
        np.empty(QUEUE, np.uint32), np.full(1, bar, np.float32), np.zeros(STATE, np.int64),
    )  # fmt: skip
    asked = Asked(query_terms, query_weights)
    size = len(query_terms)
    places, coefficients = np.empty(size, np.int64), np.empty(size, np.uint32)
    window = Window(
        Scaled(places, coefficients, np.empty(BLOCKS, np.uint32)),
        Columns(np.empty(size + TOGETHER, np.int64), np.empty(size + TOGETHER, np.uint32)),
        np.empty(size, np.uint8),
        np.empty(BLOCKS, np.uint32),
        np.empty(BLOCKS, np.uint32),
    )
    reached = np.empty(_REACHED, np.uint16)
    spread_out(spread, query_weights)
    resume(race, filled)
    if way != STEPWISE:
        windows = len(window_terms) - 1
        all_places = np.empty(windows * size, np.int64)
        later = np.empty(windows * BLOCKS, np.uint32)
        counts = _search_whole(
            asked, window, lists, race, window_terms, sums, reached, all_places, later, len(born),
            way == RARE, effort,
        )  # fmt: skip
    else:
        counts = _search_stepwise(
            asked, window, lists, race, window_terms, sums, reached, len(born)
        )
    wipe(spread)
    own = finish(race, scores, rows)
    read, skipped, beyond = counts
    return own, race.state[FILLED], race.bar[0], read + race.state[READ], skipped, beyond
