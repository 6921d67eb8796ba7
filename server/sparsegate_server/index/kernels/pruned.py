"""A window once there is a bar: only what may clear it is added up.

Long lists of little weight are deferred. Blocks whose maxima stay below the bar are passed over,
columns are added only to strides that may still clear it, and documents that may clear it with what
is missing are scored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bits import LANES
from sparsegate_server.index.kernels.bounds import Lists, cut_of
from sparsegate_server.index.kernels.columns import add_columns, gather_columns
from sparsegate_server.index.kernels.deferral import defer
from sparsegate_server.index.kernels.exhaustive import clear
from sparsegate_server.index.kernels.lanes import lanes_reaching
from sparsegate_server.index.kernels.race import (
    ENTERED,
    NEVER,
    Race,
    consider,
    passing,
    score_waiting,
)
from sparsegate_server.index.kernels.registry import helper, signed
from sparsegate_server.index.kernels.window import (
    CHOSEN,
    DEFERRED,
    Window,
    bound_the_rest,
    scatter_terms,
)
from sparsegate_server.index.kernels.windows import BLOCK

_SHARE = 0.15
"""What the deferred terms together may add, as a share of the cut."""

_POSTINGS_A_SCORE = 300
"""Scoring a document by its forward vector takes as long as scattering so many postings."""


@helper
def search_promising(
    window: Window,
    lists: Lists,
    race: Race,
    first_row: int,
    begin: int,
    end: int,
    documents: int,
    factor: float,
    sums: NDArray[np.uint16],
) -> tuple[int, int]:
    """Returns how many postings were read, and how many blocks were passed over.

    Args:
        first_row: of the window.
        begin, end: the documents of the window that are searched; a block begins at `begin`.
        documents: of the window.
        window: its query is scaled to `factor`.
        sums: uint16 [documents filled up to whole blocks], zero; it is left so.
    """
    cut = cut_of(race.bar[0], factor)
    spared = defer(window, lists, int(cut * _SHARE), documents, False)
    read = scatter_terms(window, lists, CHOSEN, begin, end, documents, sums)
    count = gather_columns(window.scaled, lists, window.deferred, window.columns)
    bound_the_rest(window, lists)
    entered = race.state[ENTERED]
    skipped = 0
    for first in range(begin, end, BLOCK):
        block = first // BLOCK
        if spared > 0 and (race.state[ENTERED] - entered) * _POSTINGS_A_SCORE > spared:
            # Too many documents come near the bar: the deferred postings cost less than they do.
            read += scatter_terms(window, lists, DEFERRED, first, end, documents, sums)
            window.later[:] = 0
            bound_the_rest(window, lists)
            spared = 0
        bound = signed(window.scaled.bounds[block])
        if bound < cut:
            skipped += 1
            continue
        rest, later = signed(window.rest[block]), signed(window.later[block])
        for stride in range(first, min(first + BLOCK, end), LANES):
            low = max(0, cut - rest)
            if low >= NEVER or not passing(race.allowed, first_row + stride):
                continue
            if not lanes_reaching(sums, stride, np.uint16(low)):
                continue
            if count > 0:
                add_columns(window.columns, count, lists.dense, stride, sums)
                read += count * LANES
            low = max(1, cut - later)
            if consider(race, sums, stride, first_row, end, low, NEVER):
                cut = cut_of(race.bar[0], factor)
    score_waiting(race)
    clear(sums, begin, end)
    return read, skipped
