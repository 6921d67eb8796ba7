"""Search of one segment: which algorithm goes over which of its windows."""

from __future__ import annotations

from typing import Any

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
from sparsegate_server.index.kernels.bounds import Lists, Scaled, cut_of, greatest, scale_query
from sparsegate_server.index.kernels.columns import TOGETHER, Columns
from sparsegate_server.index.kernels.exhaustive import (
    Asked,
    add_up,
    clear,
    common_factor,
    enter_best,
    enter_between,
    missed,
)
from sparsegate_server.index.kernels.optimistic import optimistic_cut
from sparsegate_server.index.kernels.pruned import search_promising
from sparsegate_server.index.kernels.race import AHEAD, FILLED, READ, STATE, Race
from sparsegate_server.index.kernels.registry import kernel
from sparsegate_server.index.kernels.score import PIECE, Spread, Vectors, spread_out, wipe
from sparsegate_server.index.kernels.window import Window
from sparsegate_server.index.kernels.windows import BLOCK, BLOCKS, WINDOW, padded

_FEW = 128
"""Where more documents are wanted, the bar is so low that hardly anything is spared by it."""

_RARE = 1 / 8
"""Where a smaller share of the documents is allowed, postings are added up only for these."""

_RESCORED = 4
"""Documents that are scored for each one wanted, where not all effort is made."""

_NEVER = 2**16


@kernel(
    U32, F32, I64, U32, I64, U16, U8, F32, I32, U8, I64, U8, I64, TERMS, F32, U64, U64,
    types.uint64, types.boolean, U64, types.float64, types.float64, types.float32, F64_OUT, U8_OUT,
    U16_OUT, F32_OUT, U32_OUT,
)  # fmt: skip
def search_segment(
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
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
    indptr: NDArray[np.int64],
    forward_terms: NDArray[Any],
    forward_weights: NDArray[np.float32],
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    sequence: np.uint64,
    all_visible: bool,
    allowed: NDArray[np.uint64],
    share: float,
    effort: float,
    bar: np.float32,
    table: NDArray[np.float64],
    member: NDArray[np.uint8],
    sums: NDArray[np.uint16],
    scores: NDArray[np.float32],
    rows: NDArray[np.uint32],
) -> tuple[int, int, int, float]:
    """The best `len(scores)` documents that are visible at `sequence`, allowed, and score above
    `bar`.

    Args:
        query_terms, query_weights: ascending term ids and their weights, at most `MOST_TERMS`.
        window_terms to dense: the postings, as `Postings` describes them.
        indptr, forward_terms, forward_weights: the forward vectors.
        born to allowed: see `Race`.
        share: of the documents that are allowed.
        effort: 1 to find all of the best; less, above 0, to read less.
        table, member: work space by term id, see `Spread`.
        sums: uint16 [at least the documents, filled up to whole windows], zero; it is left so.
        scores, rows: the answer, in heap order; its size must be at least 1.

    Returns:
        How many documents were found, how many postings and forward weights were read, how many
        blocks were passed over, and what no document scores above that was missed, -1 if none was.
    """
    lists = Lists(
        terms, ranges, local_ids, impacts, scales, blocks, block_maxima, column_starts, dense
    )
    spread = Spread(query_terms, table, member, np.empty(PIECE + 1, np.int64))
    race = Race(
        Vectors(indptr, forward_terms, forward_weights),
        spread, born, dead, sequence, all_visible, allowed, scores, rows,
        np.empty(AHEAD, np.uint32), np.full(1, bar, np.float32), np.zeros(STATE, np.int64),
    )  # fmt: skip
    asked = Asked(query_terms, query_weights, effort)
    size = len(query_terms)
    places, coefficients = np.empty(size, np.int64), np.empty(size, np.uint32)
    window = Window(
        Scaled(places, coefficients, np.empty(BLOCKS, np.uint32)),
        Columns(np.empty(size + TOGETHER, np.int64), np.empty(size + TOGETHER, np.uint32)),
        np.empty(size, np.uint8),
        np.empty(BLOCKS, np.uint32),
        np.empty(BLOCKS, np.uint32),
    )
    documents = len(born)
    windows = len(window_terms) - 1
    wanted = len(scores)
    rarely = share < _RARE
    # The windows that are added up as a whole: all of them, or one to begin with, for the bar.
    whole = windows if wanted > _FEW or rarely or effort < 1.0 else min(windows, 1)
    if bar >= 0 and whole == 1:
        whole = 0
    read = 0
    skipped = 0
    beyond = -1.0
    spread_out(spread, query_weights)
    factor = common_factor(asked, window, lists, window_terms, whole)
    if factor > 0.0:
        inside = min(documents, whole * WINDOW)
        later = np.empty(whole * BLOCKS, np.uint32)
        all_sums = sums[: padded(inside)]
        read += add_up(
            asked, window, lists, window_terms, whole, inside, factor, all_sums, later, allowed,
            rarely,
        )  # fmt: skip
        if effort < 1.0:
            floor = optimistic_cut(all_sums, inside, allowed, wanted * _RESCORED)
            enter_between(race, all_sums, inside, floor, _NEVER, factor)
            beyond = missed(all_sums, later, floor, factor)
        else:
            enter_best(race, all_sums, inside, wanted, factor)
        clear(all_sums)
    for number in range(whole, windows):
        first_row = number * WINDOW
        own = min(WINDOW, documents - first_row)
        factor = scale_query(
            query_terms, query_weights, lists, window_terms[number], window_terms[number + 1],
            np.inf, window.scaled,
        )  # fmt: skip
        if factor == 0.0:
            continue
        if greatest(window.scaled.bounds) < cut_of(race.bar[0], factor):
            skipped += (own + BLOCK - 1) // BLOCK
            continue
        more, passed = search_promising(
            window, lists, race, first_row, own, factor, sums[: padded(own)]
        )
        read += more
        skipped += passed
    wipe(spread)
    return race.state[FILLED], read + race.state[READ], skipped, beyond
