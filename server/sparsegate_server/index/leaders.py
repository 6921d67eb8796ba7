"""The best scores of a search so far: what a document of the next part has to beat."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NO_BAR: Final = np.float32(-1)
"""Below every score: even one that rounds to zero belongs to a hit."""


class Leaders:
    """The scores of the best documents of the parts that one thread has searched, as a heap whose
    root is the lowest. It belongs to one search.

    Attributes:
        scores: float32 [how many are wanted], the first `filled` are taken.
        rows: uint32, parallel; work space of the part that is being searched.
        filled: how many places are taken.
        bar: only scores above it count.
    """

    __slots__ = ("bar", "filled", "rows", "scores")

    def __init__(self, wanted: int, bar: np.float32 = NO_BAR) -> None:
        self.scores: NDArray[np.float32] = np.empty(wanted, np.float32)
        self.rows: NDArray[np.uint32] = np.empty(wanted, np.uint32)
        self.filled = 0
        self.bar = bar

    def offer(self, scores: NDArray[np.float32]) -> None:
        """Takes in the scores of hits that were found without the heap."""
        if not len(scores):
            return
        together = np.concatenate([self.scores[: self.filled], scores])
        wanted = len(self.scores)
        if len(together) > wanted:
            together = np.partition(together, len(together) - wanted)[-wanted:]
        # In ascending order they are a heap.
        self.filled = len(together)
        self.scores[: self.filled] = np.sort(together)
        if self.filled == wanted:
            # An equal score may still win by its smaller id.
            self.bar = max(self.bar, np.nextafter(self.scores[0], np.float32(-np.inf)))
