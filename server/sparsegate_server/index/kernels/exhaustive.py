"""Term at a time over whole windows: everything is added up, and the best sums are scored first.

This is how a search begins, while nothing is known that could be spared; and where so many hits are
wanted that hardly a document could be passed over, it is all there is to do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bits import LANES
from sparsegate_server.index.kernels.bounds import Lists, cut_of
from sparsegate_server.index.kernels.columns import add_columns, gather_columns
from sparsegate_server.index.kernels.optimistic import (
    TOO_MANY,
    Reached,
    keep_reaching,
    list_reaching,
    optimistic_cut,
    sharpened_cut,
)
from sparsegate_server.index.kernels.race import (
    FILLED,
    NEVER,
    Race,
    consider,
    passing,
    score_rows,
    score_waiting,
)
from sparsegate_server.index.kernels.registry import helper, signed
from sparsegate_server.index.kernels.window import CHOSEN, Window, scatter_rare, scatter_terms
from sparsegate_server.index.kernels.windows import BLOCK, padded


@helper
def add_up(
    window: Window,
    lists: Lists,
    first_row: int,
    first: int,
    last: int,
    documents: int,
    sums: NDArray[np.uint16],
    allowed: NDArray[np.uint64],
    rarely: bool,
) -> int:
    """Adds the chosen terms up for the documents `first` to `last` of a window, both whole strides
    but for the window's end. Returns how many postings were read.

    Args:
        first_row, documents: of the window.
        sums: uint16, of the window, zero.
        allowed: see `Race`.
        rarely: whether so few documents are allowed that each posting is worth a look whether its
            document is; else all are added up, which takes less time for each.
    """
    if rarely:
        read = scatter_rare(window, lists, allowed[first_row >> 6 :], first, last, sums)
    else:
        read = scatter_terms(window, lists, CHOSEN, first, last, documents, sums)
    count = gather_columns(window.scaled, lists, window.deferred, window.columns)
    if count > 0:
        for stride in range(first, last, LANES):
            if passing(allowed, first_row + stride):
                add_columns(window.columns, count, lists.dense, stride, sums)
                read += count * LANES
    return read


@helper
def enter_best(
    race: Race,
    sums: NDArray[np.uint16],
    first_row: int,
    first: int,
    last: int,
    wanted: int,
    whole: bool,
    factor: float,
    reached: Reached,
) -> int:
    """Enters the best sums of the documents `first` to `last`, then, if need be, lower ones.

    Args:
        wanted: how many are entered at first.
        whole: whether the sums are of all terms, so that the bar cuts them off, and all documents
            that may be among the best are entered; else, until there are enough hits.
        reached: work space for some more than are wanted.

    Returns:
        The sum below which no document was entered.
    """
    floor = optimistic_cut(sums, first_row, first, last, race.allowed, wanted)
    count = list_reaching(sums, first_row, first, last, race.allowed, floor, reached)
    if count != TOO_MANY:
        floor = sharpened_cut(reached, count, floor, wanted)
    cut = cut_of(race.bar[0], factor) if whole else 1
    floor = max(floor, cut)
    below = NEVER
    while True:
        if below == NEVER and count != TOO_MANY:
            score_rows(race, reached.rows, keep_reaching(reached, count, floor))
        else:
            for stride in range(first, last, LANES):
                if consider(race, sums, stride, first_row, last, max(floor, cut), below) and whole:
                    cut = cut_of(race.bar[0], factor)
            score_waiting(race)
        cut = cut_of(race.bar[0], factor) if whole else 1
        full = race.state[FILLED] == len(race.scores)
        if floor <= cut or (full and not whole):
            return floor
        below = floor
        # Too few may have passed, because of a filter or of deletes: then it goes down by steps.
        floor = cut if full else max(cut, floor * 3 // 4)


@helper
def clear(sums: NDArray[np.uint16], first: int, last: int) -> None:
    """Sets sums back to zero, to the end of the last block."""
    for place in range(np.uint64(first), np.uint64(padded(last))):
        sums[place] = 0


@helper
def missed(
    sums: NDArray[np.uint16], later: NDArray[np.uint32], documents: int, floor: int, factor: float
) -> float:
    """No document whose sum is below `floor` scores above this; sets the sums back to zero.

    Args:
        later: uint32, what was left out of the documents of each block can add to any of them.
    """
    most = 0
    for first in range(0, documents, BLOCK):
        peak = np.uint16(0)
        for offset in range(np.uint64(first), np.uint64(first + BLOCK)):
            peak = max(peak, sums[offset])
            sums[offset] = 0
        most = max(most, min(signed(peak), floor - 1) + signed(later[first // BLOCK]))
    return most / factor
