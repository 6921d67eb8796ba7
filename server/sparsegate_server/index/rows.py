"""Documents of one write, or of one tail, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sparsegate_server.index.forward import Forward
from sparsegate_server.index.values import Record


class Rows(NamedTuple):
    """Checked documents, no key twice.

    Attributes:
        sizes: bytes of each text and of each payload, as stored.
        numbers: in the store.
    """

    keys: Sequence[bytes]
    records: Sequence[Record]
    sizes: Sequence[tuple[int, int]]
    forward: Forward
    numbers: Sequence[int]

    def take(self, places: Sequence[int]) -> Rows:
        """Some of them, in the order of `places`."""
        destination = np.full(len(self.forward), -1)
        destination[places] = np.arange(len(places))
        return Rows(
            [self.keys[at] for at in places],
            [self.records[at] for at in places],
            [self.sizes[at] for at in places],
            Forward.gathered([(self.forward, destination)], len(places)),
            [self.numbers[at] for at in places],
        )
