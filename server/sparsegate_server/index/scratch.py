"""Work space of the calling thread for kernels, all zeroes between uses."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels import WINDOW


class Scratch(NamedTuple):
    """Attributes:
    weights: float64, one place for each term id and at least one more.
    member: uint8, as long.
    sums: uint16, one place for each row of the largest segment, filled up to whole windows.
    """

    weights: NDArray[np.float64]
    member: NDArray[np.uint8]
    sums: NDArray[np.uint16]


class _Own(threading.local):
    def __init__(self) -> None:
        self.scratch = _of_size(WINDOW + 1, WINDOW)


def scratch_for(vocabulary: int, rows: int = 0) -> Scratch:
    """The calling thread's, for term ids below `vocabulary` and segments of so many rows."""
    scratch = _own.scratch
    if len(scratch.member) <= vocabulary or len(scratch.sums) < rows:
        windows = max(len(scratch.sums) // WINDOW, -(-rows // WINDOW))
        scratch = _of_size(max(len(scratch.member), vocabulary + 1), windows * WINDOW)
        _own.scratch = scratch
    return scratch


def _of_size(terms: int, rows: int) -> Scratch:
    return Scratch(
        np.zeros(terms, np.float64), np.zeros(terms, np.uint8), np.zeros(rows, np.uint16)
    )


_own: Final = _Own()
