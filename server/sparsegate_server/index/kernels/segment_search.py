"""Search of segments: which algorithm goes over which of their windows."""

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
    I64_OUT,
    TERMS,
    U8_OUT,
    U16_OUT,
    U32,
    U32_OUT,
)
from sparsegate_server.index.kernels.bits import u64_at
from sparsegate_server.index.kernels.bounds import (
    Scaled,
    cut_of,
    greatest,
    rescale_query,
    scale_query,
)
from sparsegate_server.index.kernels.columns import TOGETHER, Columns
from sparsegate_server.index.kernels.deferral import defer, defer_nothing, most_of
from sparsegate_server.index.kernels.exhaustive import add_up, clear, enter_best, missed
from sparsegate_server.index.kernels.optimistic import Reached
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
from sparsegate_server.index.kernels.score import PIECE, Spread, spread_out, wipe
from sparsegate_server.index.kernels.segments import SegmentArrays, segment_at
from sparsegate_server.index.kernels.window import Window, span_of
from sparsegate_server.index.kernels.windows import BLOCK, BLOCKS, WINDOW

STEPWISE, WHOLE, RARE = range(3)
"""Ways through a segment: window after window against a rising bar; all windows added up before any
document is scored; the same, but only postings of documents that are allowed."""

_FIRST_STEP = 16_384
"""Documents that are searched exhaustively before there is a bar; if they give none, it takes whole
windows. A multiple of a block."""

_RESCORED = 7
"""Where not all effort is made, so many documents are scored beyond those wanted, times the square
root of those wanted."""

_REACHED = 4096
"""Sums among which the first cut is sharpened."""


class Asked(NamedTuple):
    """The query: ascending term ids and their weights."""

    terms: NDArray[np.uint32]
    weights: NDArray[np.float32]


class Space(NamedTuple):
    """Work space.

    Attributes:
        sums: uint16 [at least the documents, filled up to whole windows], zero between uses.
        reached: for documents among which a cut is sharpened.
    """

    window: Window
    sums: NDArray[np.uint16]
    reached: Reached


@helper
def _search_whole(
    asked: Asked,
    space: Space,
    segment: SegmentArrays,
    race: Race,
    places: NDArray[np.int64],
    later: NDArray[np.uint32],
    rarely: bool,
    effort: float,
) -> tuple[int, int, float]:
    """Adds all windows up before any document is scored, in sums of one factor, so that the best
    of them all can be scored first.

    With less than all effort, terms that cost much for what they can add are left out, and only
    the documents with the best sums are scored: what the others may be worth is bounded by their
    sums and by what was left out.
    """
    window, sums, reached = space.window, space.sums, space.reached
    lists, documents = segment.lists, len(segment.born)
    windows, size = len(segment.window_terms) - 1, len(asked.terms)
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
        own_window = Window(
            scaled, window.columns, window.deferred, window.worth, window.later, window.rest
        )
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
    asked: Asked, space: Space, segment: SegmentArrays, race: Race
) -> tuple[int, int, float]:
    """One window after another, the first documents exhaustively: they give a bar that spares work
    on the others."""
    window, sums, reached = space.window, space.sums, space.reached
    lists, documents = segment.lists, len(segment.born)
    read, skipped = 0, 0
    step = _FIRST_STEP
    windows = len(segment.window_terms) - 1
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
    I64, TERMS, U32, F32, types.uint64, types.float64, types.float32, F64_OUT, U8_OUT,
    U16_OUT, F32_OUT, U32_OUT, types.int64, F32_OUT, I64_OUT, U32_OUT,
)  # fmt: skip
def search_segments(
    segments: NDArray[np.int64],
    term_type: NDArray[Any],
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    sequence: np.uint64,
    effort: float,
    bar: np.float32,
    table: NDArray[np.float64],
    member: NDArray[np.uint8],
    sums: NDArray[np.uint16],
    best_scores: NDArray[np.float32],
    best_rows: NDArray[np.uint32],
    filled: int,
    scores: NDArray[np.float32],
    owners: NDArray[np.int64],
    rows: NDArray[np.uint32],
) -> tuple[int, int, np.float32, int, int, float]:
    """The documents of some segments, one after the other, that are visible at `sequence`, allowed,
    score above `bar`, and are among the best of all parts so far.

    Args:
        segments: int64 [3 · segments], for each the address of its row, see `segment_row`; the
            address of uint64 words, a bit for each document that a filter lets pass, or 0 where all
            pass; and the way through it: `STEPWISE`, `WHOLE`, or `RARE`, which needs a filter.
        term_type: an array with the type of the forward vectors' term ids.
        query_terms, query_weights: ascending term ids and their weights, at most `MOST_TERMS`.
        effort: 1 to find all of the best; less, above 0, to read less; it needs another way than
            `STEPWISE`.
        table, member: work space by term id, see `Spread`.
        sums: uint16 [at least the documents of each, filled up to whole windows], zero; it is left
            so.
        best_scores, best_rows, filled: the best so far, as a heap; it goes on with those found.
            There must be at least one place.
        scores, owners, rows: the answer, in no order: room for as many of each segment as there are
            places, or for all of its documents. Owners are numbers of segments.

    Returns:
        How many documents were found, how many places of the heap are taken, the bar that it
        makes, how many postings and forward weights were read, how many
        blocks were passed over, and what no document scores above that was missed, -1 if none was.
    """
    size = len(query_terms)
    spread = Spread(query_terms, table, member, np.empty(PIECE + 1, np.int64))
    window = Window(
        Scaled(np.empty(size, np.int64), np.empty(size, np.uint32), np.empty(BLOCKS, np.uint32)),
        Columns(np.empty(size + TOGETHER, np.int64), np.empty(size + TOGETHER, np.uint32)),
        np.empty(size, np.uint8),
        np.empty(size, np.float64),
        np.empty(BLOCKS, np.uint32),
        np.empty(BLOCKS, np.uint32),
    )
    space = Space(
        window, sums, Reached(np.empty(_REACHED, np.uint16), np.empty(_REACHED, np.uint32))
    )
    asked = Asked(query_terms, query_weights)
    waiting = np.empty(QUEUE, np.uint32)
    bars = np.full(1, bar, np.float32)
    state = np.zeros(STATE, np.int64)
    state[FILLED] = filled
    spread_out(spread, query_weights)
    found, read, skipped, beyond = 0, 0, 0, -1.0
    for number in range(len(segments) // 3):
        segment = segment_at(segments[3 * number], term_type)
        allowed, way = segments[3 * number + 1], segments[3 * number + 2]
        words = len(segment.touched) if allowed != 0 else 0
        race = Race(
            segment.vectors, spread, segment.born, segment.dead, segment.touched, sequence,
            bool(segment.newest <= sequence), u64_at(allowed, words), best_scores,
            best_rows, waiting, bars, state,
        )  # fmt: skip
        resume(race)
        if way == STEPWISE:
            counts = _search_stepwise(asked, space, segment, race)
        else:
            windows = len(segment.window_terms) - 1
            places = np.empty(windows * size, np.int64)
            later = np.empty(windows * BLOCKS, np.uint32)
            rarely = way == RARE
            counts = _search_whole(asked, space, segment, race, places, later, rarely, effort)
        own = finish(race, scores[found:], rows[found:])
        owners[found : found + own] = number
        found += own
        read, skipped, beyond = read + counts[0], skipped + counts[1], max(beyond, counts[2])
    wipe(spread)
    return found, state[FILLED], bars[0], read + state[READ], skipped, beyond
