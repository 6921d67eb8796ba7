"""Heavy terms as dense columns: a byte for every document, added to a stride of accumulators.

Four columns are added at a time, or two, so that the accumulators are read and written less often.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bounds import Lists, Scaled
from sparsegate_server.index.kernels.lanes import add_four, add_two, prefetch
from sparsegate_server.index.kernels.registry import helper

TOGETHER = 2

_AHEAD = 1024
"""Bytes of a column that are on their way."""


class Columns(NamedTuple):
    """The columns of a query's heavy terms in a window, filled up to an even number by one that
    counts nothing.

    Attributes:
        starts: int64 [terms of the query + TOGETHER], where each column begins.
        coefficients: uint32, parallel.
    """

    starts: NDArray[np.int64]
    coefficients: NDArray[np.uint32]


@helper
def gather_columns(
    scaled: Scaled, lists: Lists, deferred: NDArray[np.uint8], columns: Columns
) -> int:
    """Lists the columns of the query's terms that are not deferred. Returns how many there are, an
    even number."""
    count = 0
    for number in range(len(scaled.places)):
        at = scaled.places[number]
        if at >= 0 and lists.columns[at] >= 0 and not deferred[number]:
            columns.starts[count] = lists.columns[at]
            columns.coefficients[count] = scaled.coefficients[number]
            count += 1
    while count % TOGETHER:
        columns.starts[count] = columns.starts[0]
        columns.coefficients[count] = 0
        count += 1
    return count


@helper
def add_columns(
    columns: Columns,
    count: int,
    dense: NDArray[np.uint8],
    first: int,
    accumulator: NDArray[np.uint16],
) -> None:
    """Adds the first `count` columns to the stride that begins at `first` of the window.

    The sum of two or four is rounded up once: it is still at least what the documents' weights add
    up to, and still zero only where all are.
    """
    starts, coefficients = columns.starts, columns.coefficients
    fours = count // 4 * 4
    for at in range(count):
        prefetch(dense, starts[at] + first + _AHEAD)
    for at in range(0, fours, 4):
        add_four(
            accumulator, first, dense,
            starts[at] + first, starts[at + 1] + first, starts[at + 2] + first,
            starts[at + 3] + first,
            coefficients[at], coefficients[at + 1], coefficients[at + 2], coefficients[at + 3],
        )  # fmt: skip
    if fours < count:
        add_two(
            accumulator, first, dense, starts[fours] + first, starts[fours + 1] + first,
            coefficients[fours], coefficients[fours + 1],
        )  # fmt: skip
