"""Which rows hold a key other than some, in an index of keys and the rows that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.filter.mask import Mask, blank


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """How many keys rows hold.

    Attributes:
        every: rows that hold a key.
        several: rows that hold more than one.
    """

    every: Mask
    several: Mask

    @classmethod
    def of(cls, rows: NDArray[np.uint32], size: int) -> Held:
        """From the row of every pair of a key and a row, no pair twice.

        Raises:
            ValueError: a row that is not below `size`.
        """
        every, several = blank(size), blank(size)
        sound = kernels.held(rows, size, every, several)
        return cls(
            Mask.filled(every, kernels.count_bits(every) if sound else -1, size),
            Mask.filled(several, kernels.count_bits(several), size),
        )


def holding_others(
    held: Held, rows: NDArray[np.uint32], spans: Sequence[tuple[int, int]], barred: Mask
) -> Mask:
    """The rows that hold a key other than the barred ones.

    Args:
        rows: of all pairs, those of one key side by side.
        spans: the places of each barred key there, apart and ascending.
        barred: the rows that hold a barred key.
    """
    if len(spans) < 2 or not held.several:
        # Whoever holds more than the one barred key holds another.
        return held.every - (barred - held.several)
    words = blank(barred.size)
    begin, count = 0, 0
    for start, stop in (*spans, (len(rows), len(rows))):
        count = kernels.add_rows(rows[begin:start], barred.size, words)
        if count < 0:
            break
        begin = stop
    return Mask.filled(words, count, barred.size)
