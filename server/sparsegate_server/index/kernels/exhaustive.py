"""Term at a time over whole windows: everything is added up, and the best sums are scored first.

This is how a search begins, while nothing is known that could be spared; and where so many hits are
wanted that hardly a document could be passed over, it is all there is to do. With less than all
effort, terms that cost much for what they can add are left out, and the documents with the best
sums are scored: what the others may be worth is bounded by their sums and by what was left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bounds import Lists, cut_of, scale_query
from sparsegate_server.index.kernels.columns import add_columns, gather_columns
from sparsegate_server.index.kernels.deferral import defer, defer_nothing, most_of
from sparsegate_server.index.kernels.lanes import LANES
from sparsegate_server.index.kernels.optimistic import optimistic_cut
from sparsegate_server.index.kernels.race import FILLED, Race, consider, passing, score_waiting
from sparsegate_server.index.kernels.registry import helper, signed
from sparsegate_server.index.kernels.window import CHOSEN, Window, scatter_rare, scatter_terms
from sparsegate_server.index.kernels.windows import BLOCK, BLOCKS, WINDOW, padded

_NEVER = 2**16


class Asked(NamedTuple):
    """The query, and how hard to try."""

    terms: NDArray[np.uint32]
    weights: NDArray[np.float32]
    effort: float


@helper
def common_factor(
    asked: Asked, window: Window, lists: Lists, window_terms: NDArray[np.int64], windows: int
) -> float:
    """A factor that the sums of the first windows may all have; 0 if there are no terms."""
    common = np.inf
    for number in range(windows):
        factor = scale_query(
            asked.terms, asked.weights, lists, window_terms[number], window_terms[number + 1],
            np.inf, window.scaled,
        )  # fmt: skip
        if factor > 0.0:
            common = min(common, factor)
    return common if common < np.inf else 0.0


@helper
def add_up(
    asked: Asked,
    window: Window,
    lists: Lists,
    window_terms: NDArray[np.int64],
    windows: int,
    documents: int,
    factor: float,
    sums: NDArray[np.uint16],
    later: NDArray[np.uint32],
    allowed: NDArray[np.uint64],
    rarely: bool,
) -> int:
    """Adds the postings of the first windows up. Returns how many were read.

    Args:
        documents: of all windows.
        factor: of the sums.
        sums: uint16 [documents filled up to whole blocks], zero.
        later: uint32 [windows · BLOCKS], gets what was left out of each block.
        allowed: see `Race`.
        rarely: whether so few documents are allowed that each posting is worth a look whether its
            document is; else all are added up, which takes less time for each.
    """
    read = 0
    for number in range(windows):
        own = min(documents - number * WINDOW, WINDOW)
        found = scale_query(
            asked.terms, asked.weights, lists, window_terms[number], window_terms[number + 1],
            factor, window.scaled,
        )  # fmt: skip
        if found == 0.0:
            continue
        defer_nothing(window)
        if asked.effort < 1.0:
            defer(window, lists, _spared(asked, window), own, True)
        for block in range(BLOCKS):
            later[number * BLOCKS + block] = window.later[block]
        start = number * WINDOW
        part = sums[start : start + padded(own)]
        if rarely:
            read += scatter_rare(window, lists, allowed[start >> 6 :], part)
        else:
            read += scatter_terms(window, lists, CHOSEN, 0, own, part)
        count = gather_columns(window.scaled, lists, window.deferred, window.columns)
        if count > 0:
            for first in range(0, own, LANES):
                if passing(allowed, start + first):
                    add_columns(window.columns, count, lists.dense, first, part)
                    read += count * LANES
    return read


@helper
def _spared(asked: Asked, window: Window) -> int:
    """What the terms that are left out may add, by the effort."""
    scaled = window.scaled
    total = 0
    for number in range(len(scaled.places)):
        if scaled.places[number] >= 0:
            total += most_of(scaled.coefficients[number])
    return int(total * (1.0 - asked.effort))


@helper
def enter_best(
    race: Race, sums: NDArray[np.uint16], documents: int, wanted: int, factor: float
) -> None:
    """Enters all documents that may be among the best, the best sums first."""
    floor = max(optimistic_cut(sums, documents, race.allowed, wanted), cut_of(race.bar[0], factor))
    below = _NEVER
    while True:
        enter_between(race, sums, documents, floor, below, factor)
        cut = cut_of(race.bar[0], factor)
        if floor <= cut:
            return
        below = floor
        # Too few may have passed, because of a filter or of deletes: then it goes down by steps.
        floor = cut if race.state[FILLED] == len(race.scores) else max(cut, floor * 3 // 4)


@helper
def enter_between(
    race: Race, sums: NDArray[np.uint16], documents: int, floor: int, below: int, factor: float
) -> None:
    """Enters the documents whose sums are at least `floor` and below `below`, for as long as the
    bar does not rise above them."""
    cut = cut_of(race.bar[0], factor)
    for first in range(0, documents, LANES):
        if consider(race, sums, first, 0, documents, max(floor, cut), below):
            cut = cut_of(race.bar[0], factor)
    score_waiting(race)


@helper
def missed(sums: NDArray[np.uint16], later: NDArray[np.uint32], floor: int, factor: float) -> float:
    """No document whose sum is below `floor` scores above this."""
    most = 0
    for first in range(0, len(sums), BLOCK):
        peak = np.uint16(0)
        for offset in range(np.uint64(first), np.uint64(first + BLOCK)):
            peak = max(peak, sums[offset])
        own = min(signed(peak), floor - 1) + signed(later[first // BLOCK])
        most = max(most, own)
    return most / factor


@helper
def clear(sums: NDArray[np.uint16]) -> None:
    for place in range(np.uint64(len(sums))):
        sums[place] = 0
