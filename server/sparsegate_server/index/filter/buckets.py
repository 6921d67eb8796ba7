"""Sorted points in buckets, so that the rows of many points are found by a walk over all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.filter.mask import Mask, blank, leading_beyond


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Which part of the points' order the first point of each row is in.

    Setting the bits of many rows in the points' order would jump about in the mask; comparing one
    byte of every row does not, and 64 rows are compared at once.

    Attributes:
        size: how many rows there are.
        rows: uint32, of all points, in the points' order.
        step: how many points a bucket has.
        numbers: uint8 [size, rounded up to a multiple of 64], `NO_BUCKET` for rows without a point.
        spare: uint32, the points whose row has an earlier one, ascending.
    """

    size: int
    rows: NDArray[np.uint32]
    step: int
    numbers: NDArray[np.uint8]
    spare: NDArray[np.uint32]

    @classmethod
    def of(cls, rows: NDArray[np.uint32], size: int) -> Buckets:
        """Raises:
        ValueError: a row that is not below `size`.
        """
        step = max(1, -(-len(rows) // kernels.NO_BUCKET))
        numbers = np.full(size + 63 & ~63, kernels.NO_BUCKET, np.uint8)
        later = blank(len(rows))
        count = kernels.fill_buckets(rows, size, step, numbers, later)
        if count < 0:
            raise leading_beyond(size)
        return cls(size, rows, step, numbers, Mask(len(rows), later, count).rows())

    def add(self, low: int, high: int, words: NDArray[np.uint64]) -> int:
        """Adds the rows of the points `low..high` to a mask's words.

        Returns:
            How many rows there are now.
        """
        return kernels.add_span(
            self.rows, self.numbers, self.step, self.spare, low, high, self.size, words
        )
