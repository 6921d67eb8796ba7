"""One window of a search: the query in its integers, and which of the terms are added up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bits import LANES
from sparsegate_server.index.kernels.bounds import Lists, Scaled, add_bounds
from sparsegate_server.index.kernels.columns import Columns
from sparsegate_server.index.kernels.lanes import mark_lanes
from sparsegate_server.index.kernels.registry import helper
from sparsegate_server.index.kernels.scatter import first_from, scatter, scatter_marked
from sparsegate_server.index.kernels.windows import BLOCKS

CHOSEN, DEFERRED = 0, 1


class Window(NamedTuple):
    """Attributes:
    scaled: the query in the window's integers.
    columns: of the query's heavy terms that are added up.
    deferred: uint8 [terms of the query], `DEFERRED` for a term that is not added up, or `CHOSEN`.
    worth: float64 [terms of the query], what it is worth to defer each.
    later: uint32 [BLOCKS], what the deferred terms can add to a document of each block.
    rest: uint32 [BLOCKS], what these and the columns can.
    """

    scaled: Scaled
    columns: Columns
    deferred: NDArray[np.uint8]
    worth: NDArray[np.float64]
    later: NDArray[np.uint32]
    rest: NDArray[np.uint32]


@helper
def scatter_terms(
    window: Window,
    lists: Lists,
    kind: int,
    first: int,
    last: int,
    documents: int,
    sums: NDArray[np.uint16],
) -> int:
    """Scatters the terms of a kind over the documents `first` to `last`. Returns how many postings
    there were.

    Args:
        documents: of the window.
        sums: uint16, of the window.
    """
    scaled = window.scaled
    scattered = 0
    for number in range(len(scaled.places)):
        at = scaled.places[number]
        if at < 0 or window.deferred[number] != kind:
            continue
        start, stop = lists.ranges[at], lists.ranges[at + 1]
        if last < documents:
            stop = first_from(start, stop, last, lists)
        if first > 0:
            start = first_from(start, stop, first, lists)
        scatter(start, stop, scaled.coefficients[number], lists, documents, sums)
        scattered += stop - start
    return scattered


@helper
def scatter_rare(
    window: Window,
    lists: Lists,
    allowed: NDArray[np.uint64],
    first: int,
    last: int,
    sums: NDArray[np.uint16],
) -> int:
    """Scatters postings of those of the documents `first` to `last` that a filter lets pass, few
    as they are. Returns how many postings were read.

    Their sums begin at one: a sum has room for that, and by it they are told from the others.

    Args:
        allowed: uint64, a bit for each document of the window and of all behind it.
        sums: uint16, of the window, zero.
    """
    scaled = window.scaled
    first, last = span_of(allowed, first, last)
    for stride in range(first, last, LANES):
        mark_lanes(sums, stride, allowed[stride // LANES])
    read = 0
    for number in range(len(scaled.places)):
        at = scaled.places[number]
        if at < 0 or window.deferred[number] != CHOSEN:
            continue
        start = first_from(lists.ranges[at], lists.ranges[at + 1], first, lists)
        stop = first_from(start, lists.ranges[at + 1], last, lists)
        scatter_marked(start, stop, scaled.coefficients[number], lists, sums)
        read += stop - start
    return read


@helper
def span_of(allowed: NDArray[np.uint64], first: int, last: int) -> tuple[int, int]:
    """Between which all of the documents `first` to `last` lie that are allowed: at whole strides,
    but for `last`."""
    begin, end = first // LANES, min(len(allowed), (last + LANES - 1) // LANES)
    while begin < end and allowed[begin] == 0:
        begin += 1
    while end > begin and allowed[end - 1] == 0:
        end -= 1
    return begin * LANES, min(end * LANES, last)


@helper
def bound_the_rest(window: Window, lists: Lists) -> None:
    """Fills `rest`."""
    scaled = window.scaled
    for block in range(BLOCKS):
        window.rest[block] = window.later[block]
    for number in range(len(scaled.places)):
        at = scaled.places[number]
        if at >= 0 and lists.columns[at] >= 0 and window.deferred[number] == CHOSEN:
            add_bounds(at, scaled.coefficients[number], lists, window.rest)
