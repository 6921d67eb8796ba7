"""Term at a time: the postings of a term, added to the accumulators of a window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bounds import Lists, contribution
from sparsegate_server.index.kernels.registry import helper
from sparsegate_server.index.kernels.windows import WINDOW


@helper
def scatter(
    start: int,
    stop: int,
    coefficient: np.uint32,
    lists: Lists,
    documents: int,
    sums: NDArray[np.uint16],
) -> None:
    """Adds the postings `start` to `stop`.

    Args:
        documents: of the window.
    """
    local_ids, impacts = lists.local_ids, lists.impacts
    if documents == WINDOW:
        for posting in range(start, stop):
            added = contribution(coefficient, impacts[posting])
            sums[local_ids[posting]] += np.uint16(added)
    else:
        for posting in range(start, stop):
            # Holds unless a file is damaged; then nothing must be left for other searches.
            if local_ids[posting] < documents:
                added = contribution(coefficient, impacts[posting])
                sums[local_ids[posting]] += np.uint16(added)


@helper
def scatter_marked(
    start: int, stop: int, coefficient: np.uint32, lists: Lists, sums: NDArray[np.uint16]
) -> None:
    """Adds those of the postings `start` to `stop` whose documents have a sum above zero."""
    local_ids, impacts = lists.local_ids, lists.impacts
    for posting in range(start, stop):
        local = local_ids[posting]
        before = sums[local]
        if before:
            added = contribution(coefficient, impacts[posting])
            sums[local] = before + np.uint16(added)


@helper
def first_from(start: int, stop: int, local_id: int, lists: Lists) -> int:
    """The first of the postings `start` to `stop` whose document is `local_id` or a later one."""
    low, high = start, stop
    while low < high:
        middle = (low + high) >> 1
        if lists.local_ids[middle] < local_id:
            low = middle + 1
        else:
            high = middle
    return low
