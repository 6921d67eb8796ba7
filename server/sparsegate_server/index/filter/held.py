"""Which rows hold a key other than some, in an index of keys and the rows that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.filter.mask import Mask, blank
from sparsegate_server.index.filter.program import (
    NONE,
    WITHOUT,
    Program,
    adding_rows,
    of_mask,
)
from sparsegate_server.index.kernels.arrays import address_of


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """How many keys rows hold.

    Attributes:
        rows: uint32, the row of every pair of a key and a row, those of one key side by side.
        every: rows that hold a key.
        several: rows that hold more than one.
    """

    rows: NDArray[np.uint32]
    every: Mask
    several: Mask
    _address: int = field(init=False)
    _every: Program = field(init=False)
    _several: Program = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_address", address_of(self.rows))
        object.__setattr__(self, "_every", of_mask(self.every))
        object.__setattr__(self, "_several", of_mask(self.several))

    @classmethod
    def of(cls, rows: NDArray[np.uint32], size: int) -> Held:
        """Args:
            rows: no pair twice.

        Raises:
            ValueError: a row that is not below `size`.
        """
        every, several = blank(size), blank(size)
        sound = kernels.held(rows, size, every, several)
        return cls(
            rows,
            Mask.filled(every, kernels.count_bits(every) if sound else -1, size),
            Mask.filled(several, kernels.count_bits(several), size),
        )

    def with_others(self, spans: Sequence[tuple[int, int]], barred: Program) -> Program:
        """The rows that hold a key other than the barred ones.

        Args:
            spans: the places of each barred key's rows, apart and ascending.
            barred: the rows that hold a barred key.
        """
        if len(spans) < 2 or not self.several:
            # Whoever holds more than the one barred key holds another.
            return self._every + barred + self._several + WITHOUT + WITHOUT
        starts, stops = zip(*spans, strict=True)
        between = zip((0, *stops), (*starts, len(self.rows)), strict=True)
        return NONE + b"".join(
            adding_rows(self._address + 4 * begin, end - begin) for begin, end in between
        )
