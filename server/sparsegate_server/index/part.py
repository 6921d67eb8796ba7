"""What a search asks of a part of a shard: a sealed segment or the view of a tail."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels import WINDOW
from sparsegate_server.index.values import Entry

ALIVE: Final = np.uint64(2**64 - 1)
"""The `dead` of a document that nobody has deleted: later than every sequence number.

A document is visible at a sequence number s if born ≤ s < dead. A writer buries a document by
writing one `dead` in place, with a number that no search has pinned yet; searches that run
meanwhile read the old value or the new one and decide the same either way.
"""

NO_BAR: Final = np.float32(-1)
"""Below every score: even one that rounds to zero belongs to a hit."""


class Scratch(threading.local):
    """Work space of the calling thread. Kernels expect zeroes and leave zeroes."""

    def __init__(self) -> None:
        self.accumulator = np.zeros(WINDOW, np.float64)
        self._table = np.zeros(0, np.float64)

    def table(self, vocabulary: int) -> NDArray[np.float64]:
        """One place per term id: float64 [at least `vocabulary`]."""
        if len(self._table) < vocabulary:
            self._table = np.zeros(vocabulary, np.float64)
        return self._table


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What every part is asked.

    Attributes:
        terms: uint32 [n], ascending, below `vocabulary`.
        weights: float32 [n], finite and above zero.
        limit: how many documents are wanted, at least 1.
        sequence: uint64, the instant that is searched.
    """

    terms: NDArray[np.uint32]
    weights: NDArray[np.float32]
    vocabulary: int
    limit: int
    sequence: np.uint64


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Documents of one part that may be among the best, in no particular order.

    Attributes:
        scores: float32 [n].
        rows: uint32 [n].
        scored: how many stored weights were read to find them.
    """

    part: Part
    scores: NDArray[np.float32]
    rows: NDArray[np.uint32]
    scored: int


class Part(Protocol):
    """Immutable as seen at any one sequence number."""

    @property
    def rows(self) -> int:
        """Stored documents, dead ones included."""
        ...

    @property
    def stored_weights(self) -> int:
        """Weighted terms of all stored documents."""
        ...

    def search(self, query: Query, bar: np.float32, scratch: Scratch) -> Candidates:
        """At least the `query.limit` best documents that are visible and score above `bar`; of
        equal ones, at least those with the smallest ids."""
        ...

    def find(self, key: bytes, sequence: int) -> int:
        """The row that holds the key's document at `sequence`, or -1."""
        ...

    def after(self, key: bytes, limit: int, sequence: int) -> list[tuple[bytes, int]]:
        """The first `limit` visible documents that come after `key`: keys and rows, ascending."""
        ...

    def key(self, row: int) -> bytes: ...

    def entry(self, row: int) -> Entry: ...
