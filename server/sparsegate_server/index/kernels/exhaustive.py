"""Term at a time over whole windows: everything is added up, and the best sums are scored first.

This is how a search begins, while nothing is known that could be spared; and where so many hits are
wanted that hardly a document could be passed over, it is all there is to do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bounds import Lists, cut_of
from sparsegate_server.index.kernels.columns import add_columns, gather_columns
from sparsegate_server.index.kernels.lanes import LANES
from sparsegate_server.index.kernels.optimistic import optimistic_cut
from sparsegate_server.index.kernels.race import FILLED, Race, consider, passing, score_waiting
from sparsegate_server.index.kernels.registry import helper
from sparsegate_server.index.kernels.window import CHOSEN, Window, scatter_rare, scatter_terms
from sparsegate_server.index.kernels.windows import padded

_NEVER = 2**16


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
    """Adds everything up for the documents `first` to `last` of a window, both whole strides but
    for the window's end. Returns how many postings were read.

    Args:
        first_row, documents: of the window.
        sums: uint16, of the window, zero.
        allowed: see `Race`.
        rarely: whether so few documents are allowed that each posting is worth a look whether its
            document is; else all are added up, which takes less time for each.
    """
    window.deferred[:] = CHOSEN
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
    factor: float,
) -> None:
    """Enters all of the documents `first` to `last` that may be among the best, the best sums
    first."""
    floor = optimistic_cut(sums, first_row, first, last, race.allowed, wanted)
    floor = max(floor, cut_of(race.bar[0], factor))
    below = _NEVER
    while True:
        cut = cut_of(race.bar[0], factor)
        for stride in range(first, last, LANES):
            if consider(race, sums, stride, first_row, last, max(floor, cut), below):
                cut = cut_of(race.bar[0], factor)
        score_waiting(race)
        cut = cut_of(race.bar[0], factor)
        if floor <= cut:
            return
        below = floor
        # Too few may have passed, because of a filter or of deletes: then it goes down by steps.
        floor = cut if race.state[FILLED] == len(race.scores) else max(cut, floor * 3 // 4)


@helper
def clear(sums: NDArray[np.uint16], first: int, last: int) -> None:
    """Sets sums back to zero, to the end of the last block."""
    for place in range(np.uint64(first), np.uint64(padded(last))):
        sums[place] = 0
