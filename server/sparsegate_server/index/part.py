"""What a search asks of a part of a shard: a sealed segment or the view of a tail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from sparsegate_server.filters import FieldKind
from sparsegate_server.index.filter.column import Column
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.leaders import NO_BAR, Leaders
from sparsegate_server.types import DocumentId, SparseVector

ALIVE: Final = np.uint64(2**64 - 1)
"""The `dead` of a document that nobody has deleted: later than every sequence number.

A document is visible at a sequence number s if born ≤ s < dead. A writer buries a document by
writing one `dead` in place, with a number that no search has pinned yet; searches that run
meanwhile read the old value or the new one and decide the same either way.
"""


# Not frozen: one is made for every search, and freezing takes half a microsecond.
@dataclass(slots=True, eq=False)
class Query:
    """What every part is asked.

    Attributes:
        terms: uint32 [n], ascending, below `vocabulary`.
        weights: float32 [n], finite and above zero.
        limit: how many documents are wanted, at least 1.
        sequence: uint64, the instant that is searched.
        bar: only scores above it count.
        effort: 1 to find all of the best; less, above 0, to read less.
    """

    terms: NDArray[np.uint32]
    weights: NDArray[np.float32]
    vocabulary: int
    limit: int
    sequence: np.uint64
    bar: np.float32 = NO_BAR
    effort: float = 1.0


# Not frozen: one is made for every search, and freezing takes half a microsecond.
@dataclass(slots=True, eq=False)
class Candidates:
    """Documents of some parts that may be among the best, in no particular order.

    Attributes:
        scores: float32 [n].
        owners: int64 [n], which of the parts each is in.
        rows: uint32 [n].
        scored: how many stored weights were read to find them.
        skipped: how many blocks of documents were passed over.
        missed: no document that was missed scores above it; below 0 if none was.
    """

    parts: Sequence[Part]
    scores: NDArray[np.float32]
    owners: NDArray[np.int64]
    rows: NDArray[np.uint32]
    scored: int
    skipped: int = 0
    missed: float = -1.0

    @classmethod
    def of(
        cls, part: Part, scores: NDArray[np.float32], rows: NDArray[np.uint32], scored: int
    ) -> Candidates:
        """All of one part."""
        return cls((part,), scores, np.zeros(len(rows), np.int64), rows, scored)


class Sizes(NamedTuple):
    """How large documents are: int64 [n] each.

    Attributes:
        ids, texts, payloads: bytes.
        vectors: weights.
    """

    ids: NDArray[np.int64]
    texts: NDArray[np.int64]
    payloads: NDArray[np.int64]
    vectors: NDArray[np.int64]


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

    def search(self, query: Query, leaders: Leaders, allowed: Mask | None) -> Candidates:
        """At least those documents that are visible, allowed, and among the `query.limit` best of
        all that the leaders come from and of this part; of equal ones, at least those with the
        smallest ids. They join the leaders.

        Args:
            allowed: may hold rows that are not visible; None allows all.
        """
        ...

    def above(self, query: Query, bar: np.float32, rows: NDArray[np.uint32]) -> Candidates:
        """All of the `rows` that are visible and score above `bar`."""
        ...

    def frequencies(self, terms: NDArray[np.uint32], sequence: int) -> NDArray[np.int64]:
        """How many visible documents have each term: int64 [n]."""
        ...

    def visible(self, sequence: int) -> BitMap:
        """The visible rows."""
        ...

    def columns_for(self, kinds: Mapping[str, FieldKind]) -> Mapping[str, Column]:
        """The payload columns of fields that have a ready index."""
        ...

    def locate(self, wanted: Keys, sequence: int) -> NDArray[np.int64]:
        """For every wanted document the row that holds it at `sequence`, or -1: int64 [n]."""
        ...

    def after(self, key: bytes, limit: int, sequence: int) -> list[tuple[bytes, int]]:
        """The first `limit` visible documents that come after `key`: keys and rows, ascending."""
        ...

    def key(self, row: int) -> bytes: ...

    def ids(self, rows: NDArray[np.uint32]) -> list[DocumentId]:
        """Of each row."""
        ...

    def number(self, row: int) -> int:
        """The document's number in the store."""
        ...

    def numbers(self, rows: Sequence[int]) -> NDArray[np.int64]: ...

    def vector(self, row: int) -> SparseVector: ...

    def sizes(self, rows: NDArray[np.int64], terms: range | None = None) -> Sizes:
        """Of each row; of its vector the weights of these terms count, or all."""
        ...
