"""Terms that are not added up at all (MaxScore, Turtle and Flood 1995).

A document that has none of the other terms can reach a cut only if the deferred ones add up to it.
They are chosen so that they cannot; and what they can add to a document of a block is bounded by
their block maxima there. Documents that may pass with that much are scored by their forward
vectors, which costs as much as scattering some hundred postings: so long lists of little weight are
deferred first.
"""

from __future__ import annotations

import numpy as np

from sparsegate_server.index.kernels.bounds import Lists, add_bounds, contribution
from sparsegate_server.index.kernels.registry import helper, signed
from sparsegate_server.index.kernels.window import CHOSEN, DEFERRED, Window

_MOST_DEFERRED = 32
"""Choosing takes time that grows with it."""

_COLUMN = 33
"""Adding a column takes as long as scattering a posting for every so many documents."""


@helper
def defer(window: Window, lists: Lists, room: int, documents: int, with_columns: bool) -> int:
    """Chooses terms to defer that can together add at most `room` to any document.

    Args:
        documents: of the window.
        with_columns: whether heavy terms may be deferred, too.

    Returns:
        How many postings are spared.
    """
    scaled, deferred, worth = window.scaled, window.deferred, window.worth
    deferred[:] = CHOSEN
    window.later[:] = 0
    spared = 0
    for number in range(len(deferred)):
        at = scaled.places[number]
        worth[number] = 0.0
        if at >= 0 and lists.blocks[at] >= 0 and (with_columns or lists.columns[at] < 0):
            worth[number] = _cost(at, lists, documents) / (scaled.coefficients[number] + 1.0)
    for _ in range(_MOST_DEFERRED):
        best, best_worth = -1, 0.0
        for number in range(len(deferred)):
            if worth[number] > best_worth and most_of(scaled.coefficients[number]) <= room:
                best, best_worth = number, worth[number]
        if best < 0:
            break
        at = scaled.places[best]
        worth[best] = 0.0
        deferred[best] = DEFERRED
        room -= most_of(scaled.coefficients[best])
        spared += lists.ranges[at + 1] - lists.ranges[at]
        add_bounds(at, scaled.coefficients[best], lists, window.later)
    return spared


@helper
def defer_nothing(window: Window) -> None:
    window.deferred[:] = CHOSEN
    window.later[:] = 0


@helper
def most_of(coefficient: np.uint32) -> int:
    """The most that a term can add to any document."""
    return signed(contribution(coefficient, np.uint8(255)))


@helper
def _cost(at: int, lists: Lists, documents: int) -> int:
    """Of adding a term up, in scattered postings."""
    if lists.columns[at] >= 0:
        return documents // _COLUMN
    return int(lists.ranges[at + 1] - lists.ranges[at])
