"""The mutable end of a shard: new documents, in the order they came, scored one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import ids, kernels
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.part import ALIVE, Candidates, Query, Scratch
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.values import Entry, Record

_Scalar = TypeVar("_Scalar", bound=np.generic)


class Tail:
    """Append-only arrays that grow by doubling. One writer; any number of views.

    A row is written before a view counts it in, and from then on only its `dead` changes. Growing
    moves the arrays, but a view keeps those that it was made with: what is written later to the
    new ones is dated later than the view anyway.
    """

    def __init__(self) -> None:
        self.count = 0
        self.tombstones = 0
        self.keys: list[bytes] = []
        self.records: list[Record] = []
        # A key's newest row, and for each row the one that held its key before it, or -1.
        self.newest: dict[bytes, int] = {}
        self.previous: list[int] = []
        self._indptr = np.zeros(1, np.int64)
        self._terms = np.empty(0, np.uint32)
        self._weights = np.empty(0, np.float32)
        self._born = np.empty(0, np.uint64)
        self._dead = np.empty(0, np.uint64)

    def reserve(self, rows: int, weights: int) -> None:
        """Makes room, so that the `append` that follows cannot fail."""
        self._indptr = _with_room(self._indptr, self.count + 1, rows)
        self._born = _with_room(self._born, self.count, rows)
        self._dead = _with_room(self._dead, self.count, rows)
        used = int(self._indptr[self.count])
        self._terms = _with_room(self._terms, used, weights)
        self._weights = _with_room(self._weights, used, weights)

    def append(
        self, keys: Sequence[bytes], records: Sequence[Record], forward: Forward, sequence: int
    ) -> None:
        """Adds documents that are born at `sequence`, after room was reserved for them."""
        first, last = self.count, self.count + len(keys)
        start = int(self._indptr[first])
        stop = start + len(forward.terms)
        self._terms[start:stop] = forward.terms
        self._weights[start:stop] = forward.weights
        self._indptr[first + 1 : last + 1] = forward.indptr[1:] + start
        self._born[first:last] = sequence
        self._dead[first:last] = ALIVE
        self.keys.extend(keys)
        self.records.extend(records)
        for row, key in enumerate(keys, first):
            self.previous.append(self.newest.get(key, -1))
            self.newest[key] = row
        self.count = last

    def live_rows(self, wanted: Sequence[bytes]) -> NDArray[np.int64]:
        """The rows of those `wanted` documents that are here and not dead."""
        found = [row for key in wanted if (row := self.newest.get(key)) is not None]
        return np.array([row for row in found if self._dead[row] == ALIVE], np.int64)

    def bury(self, rows: NDArray[np.int64], sequence: int) -> None:
        """Ends the life of `rows` at `sequence`."""
        self._dead[rows] = sequence
        self.tombstones += len(rows)

    def view(self) -> TailView:
        """What has been appended until now."""
        return TailView(
            self, self.count, self._indptr, self._terms, self._weights, self._born, self._dead
        )

    def sealed(self, vocabulary: int) -> Segment | None:
        """A segment of the live documents, or None if there are none."""
        rows = np.flatnonzero(self._dead[: self.count] == ALIVE).tolist()
        if not rows:
            return None
        rows.sort(key=self.keys.__getitem__)
        destination = np.full(self.count, -1)
        destination[rows] = np.arange(len(rows))
        forward = Forward(self._indptr[: self.count + 1], self._terms, self._weights)
        return Segment.build(
            Keys.of([self.keys[row] for row in rows]),
            [self.records[row] for row in rows],
            Forward.gathered([(forward, destination)], len(rows)),
            self._born[rows],
            vocabulary,
        )


@dataclass(frozen=True, slots=True, eq=False)
class TailView:
    """The first `rows` documents of a tail, as a search sees them."""

    tail: Tail
    rows: int
    indptr: NDArray[np.int64]
    terms: NDArray[np.uint32]
    weights: NDArray[np.float32]
    born: NDArray[np.uint64]
    dead: NDArray[np.uint64]

    @property
    def stored_weights(self) -> int:
        return int(self.indptr[self.rows])

    def search(self, query: Query, bar: np.float32, scratch: Scratch) -> Candidates:
        # Rows are not in id order: which of equal documents come first is left to the ranking.
        scores = np.empty(self.rows, np.float32)
        rows = np.empty(self.rows, np.uint32)
        found, scored = kernels.scan_forward(
            query.terms,
            query.weights,
            self.indptr,
            self.terms,
            self.weights,
            0,
            self.rows,
            self.born,
            self.dead,
            query.sequence,
            bar,
            scratch.table(query.vocabulary),
            scores,
            rows,
        )
        return Candidates(self, scores[:found], rows[:found], scored)

    def find(self, key: bytes, sequence: int) -> int:
        row = self.tail.newest.get(key, -1)
        # Newer rows than the view knows of may have come meanwhile.
        while row >= self.rows or (row >= 0 and self.born[row] > sequence):
            row = self.tail.previous[row]
        return row if row >= 0 and sequence < self.dead[row] else -1

    def after(self, key: bytes, limit: int, sequence: int) -> list[tuple[bytes, int]]:
        rows = kernels.visible_rows(
            self.born, self.dead, np.uint64(sequence), 0, self.rows, self.rows
        )
        keys = self.tail.keys
        return sorted((keys[row], row) for row in rows.tolist() if keys[row] > key)[:limit]

    def key(self, row: int) -> bytes:
        return self.tail.keys[row]

    def entry(self, row: int) -> Entry:
        forward = Forward(self.indptr, self.terms, self.weights)
        return Entry(ids.decode(self.key(row)), forward.row(row), self.tail.records[row])


def _with_room(array: NDArray[_Scalar], used: int, more: int) -> NDArray[_Scalar]:
    """`array` itself or a copy at least twice as long, with room for `more` behind `used`."""
    if used + more <= len(array):
        return array
    grown = np.empty(max(used + more, 2 * len(array)), array.dtype)
    grown[:used] = array[:used]
    return grown
