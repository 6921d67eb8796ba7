"""Sorted points in buckets, so that the rows of many points are found by a walk over all rows."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.filter.mask import Mask, blank, leading_beyond
from sparsegate_server.index.kernels.arrays import address_of

_PLACES: Final = struct.Struct("=6q")


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Which part of the points' order the first point of each row is in.

    Setting the bits of many rows in the points' order would jump about in the mask; comparing one
    byte of every row does not, and 64 rows are compared at once.

    Attributes:
        rows: uint32, of all points, in the points' order.
        step: how many points a bucket has.
        numbers: uint8 [rows of the mask, rounded up to a multiple of 64], `NO_BUCKET` for rows
            without a point.
        spare: uint32, the points whose row has an earlier one, ascending.
        places: where all this is, as a program says it.
    """

    rows: NDArray[np.uint32]
    step: int
    numbers: NDArray[np.uint8]
    spare: NDArray[np.uint32]
    places: bytes = field(init=False)

    def __post_init__(self) -> None:
        places = _PLACES.pack(
            address_of(self.rows),
            len(self.rows),
            address_of(self.numbers),
            self.step,
            address_of(self.spare),
            len(self.spare),
        )
        object.__setattr__(self, "places", places)

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
        return cls(rows, step, numbers, Mask(len(rows), later, count).rows())
