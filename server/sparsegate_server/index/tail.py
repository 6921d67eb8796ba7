"""The mutable end of a shard: new documents, in the order they came, scored one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from sparsegate_server.filters import FieldKind
from sparsegate_server.index import ids, kernels
from sparsegate_server.index.columns import column_of
from sparsegate_server.index.filter.column import Column
from sparsegate_server.index.filter.mask import Mask, words_of
from sparsegate_server.index.forward import Forward, TermIds
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.leaders import Leaders
from sparsegate_server.index.part import ALIVE, Candidates, Query, Sizes
from sparsegate_server.index.rows import Rows
from sparsegate_server.index.scan import scan
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.values import Record
from sparsegate_server.types import DocumentId, SparseVector

_Scalar = TypeVar("_Scalar", bound=np.generic)


class Tail:
    """Append-only arrays that grow by doubling. One writer; any number of views.

    A row is written before a view counts it in, and from then on only its `dead` changes. Growing
    moves the arrays, but a view keeps those that it was made with: what is written later to the
    new ones is dated later than the view anyway.
    """

    def __init__(self, term_type: type[np.uint16] | type[np.uint32]) -> None:
        self.count = 0
        self.tombstones = 0
        self.keys: list[bytes] = []
        self.records: list[Record] = []
        self.sizes: list[tuple[int, int]] = []
        self.numbers: list[int] = []
        # A key's newest row, and for each row the one that held its key before it, or -1.
        self.newest: dict[bytes, int] = {}
        self.previous: list[int] = []
        self._indptr = np.zeros(1, np.int64)
        self._terms: TermIds = np.empty(0, np.dtype(term_type))
        self._weights = np.empty(0, np.float32)
        # Chains of the weights of each term, see `kernels.chain_rows`.
        self._first = np.empty(0, np.uint32)
        self._last = np.empty(0, np.uint32)
        self._links = np.empty(0, np.uint64)
        self._born = np.empty(0, np.uint64)
        self._dead = np.empty(0, np.uint64)

    def append(self, rows: Rows, sequence: int) -> None:
        """Adds documents that are born at `sequence`."""
        first, last = self.count, self.count + len(rows.keys)
        start = int(self._indptr[first])
        stop = start + len(rows.forward.terms)
        self._reserve(last - first, stop - start)
        self._terms[start:stop] = rows.forward.terms
        self._weights[start:stop] = rows.forward.weights
        self._indptr[first + 1 : last + 1] = rows.forward.indptr[1:] + start
        self._know_terms(int(rows.forward.terms.max(initial=0)))
        chains = self._first, self._last, self._links
        kernels.chain_rows(self._indptr, self._terms, first, last, *chains)
        self._born[first:last] = sequence
        self._dead[first:last] = ALIVE
        self.keys.extend(rows.keys)
        self.records.extend(rows.records)
        self.sizes.extend(rows.sizes)
        self.numbers.extend(rows.numbers)
        for row, key in enumerate(rows.keys, first):
            self.previous.append(self.newest.get(key, -1))
            self.newest[key] = row
        self.count = last

    def abandon(self, first: int) -> None:
        """Takes back the rows from `first` on, which no view has counted in yet: they die before
        they are born. They stay where they are, because a reader may be walking through them."""
        for row in range(self.count - 1, first - 1, -1):
            if self.newest.get(self.keys[row]) != row:
                continue  # taken back before, when its own request failed
            if self.previous[row] >= 0:
                self.newest[self.keys[row]] = self.previous[row]
            else:
                self.newest.pop(self.keys[row])
        self.tombstones += int((self._dead[first : self.count] == ALIVE).sum())
        self._dead[first : self.count] = 0

    def live_rows(self, wanted: Sequence[bytes]) -> NDArray[np.int64]:
        """The rows of those `wanted` documents that are here and not dead."""
        found = [row for key in wanted if (row := self.newest.get(key)) is not None]
        return np.array([row for row in found if self._dead[row] == ALIVE], np.int64)

    def bury(self, rows: NDArray[np.int64], sequence: int) -> None:
        """Ends the life of `rows` at `sequence`."""
        self._dead[rows] = sequence
        self.tombstones += len(rows)

    def revive(self, rows: NDArray[np.int64]) -> None:
        """Takes a `bury` back."""
        self._dead[rows] = ALIVE
        self.tombstones -= len(rows)

    def view(self) -> TailView:
        """What has been appended until now."""
        return TailView(
            self,
            self.count,
            self._indptr,
            self._terms,
            self._weights,
            self._born,
            self._dead,
            self._first,
            self._links,
        )

    def sealed(self, vocabulary: int, sequence: int) -> tuple[Segment | None, NDArray[np.int64]]:
        """A segment of the documents that are alive at `sequence`, or None if there are none, and
        for each row its place in it or -1. A later death is carried over, see `segment.merged`."""
        rows = np.flatnonzero(self._dead[: self.count] > sequence).tolist()
        rows.sort(key=self.keys.__getitem__)
        destination = np.full(self.count, -1)
        destination[rows] = np.arange(len(rows))
        if not rows:
            return None, destination
        forward = Forward(self._indptr[: self.count + 1], self._terms, self._weights)
        every = Rows(self.keys, self.records, self.sizes, forward, self.numbers)
        return Segment.of(every.take(rows), self._born[rows], vocabulary), destination

    def carry_over(self, segment: Segment, destination: NDArray[np.int64]) -> None:
        """Buries in the sealed segment what has died here meanwhile."""
        dead = self._dead[: self.count]
        rows = np.flatnonzero((destination >= 0) & (dead != ALIVE))
        segment.deaths.bury(destination[rows], dead[rows])

    def dropped(self, destination: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of the documents that the sealed segment leaves out."""
        return np.array(self.numbers, np.int64)[destination < 0]

    def _know_terms(self, greatest: int) -> None:
        """Makes room for chains of terms up to `greatest`."""
        known, needed = len(self._first), greatest + 1
        if needed > known:
            more = np.full(max(needed, 2 * known) - known, kernels.NO_LINK, np.uint32)
            self._first = np.concatenate([self._first, more])
            self._last = np.concatenate([self._last, more])

    def _reserve(self, rows: int, weights: int) -> None:
        self._indptr = _with_room(self._indptr, self.count + 1, rows)
        self._born = _with_room(self._born, self.count, rows)
        self._dead = _with_room(self._dead, self.count, rows)
        used = int(self._indptr[self.count])
        self._terms = _with_room(self._terms, used, weights)
        self._weights = _with_room(self._weights, used, weights)
        self._links = _with_room(self._links, used, weights)


@dataclass(frozen=True, slots=True, eq=False)
class TailView:
    """The first `rows` documents of a tail, as a search sees them."""

    tail: Tail
    rows: int
    indptr: NDArray[np.int64]
    terms: TermIds
    weights: NDArray[np.float32]
    born: NDArray[np.uint64]
    dead: NDArray[np.uint64]
    first: NDArray[np.uint32]
    links: NDArray[np.uint64]
    _columns: dict[tuple[str, FieldKind], Column] = field(default_factory=dict)

    def columns_for(self, kinds: Mapping[str, FieldKind]) -> dict[str, Column]:
        """Payload columns of some fields, made when a filter first asks and kept for the next."""
        return {name: self._column(name, kind) for name, kind in kinds.items()}

    def _column(self, name: str, kind: FieldKind) -> Column:
        column = self._columns.get((name, kind))
        if column is None:
            column = column_of(kind, name, self.tail.records[: self.rows])
            self._columns[name, kind] = column
        return column

    @property
    def stored_weights(self) -> int:
        return int(self.indptr[self.rows])

    def search(self, query: Query, leaders: Leaders, allowed: Mask | None) -> Candidates:
        scores = np.empty(self.rows, np.float32)
        rows = np.empty(self.rows, np.uint32)
        found, scored = kernels.search_chains(
            query.terms,
            query.weights,
            self.first,
            self.links,
            self.weights,
            self.stored_weights,
            self.born,
            self.dead,
            query.sequence,
            words_of(allowed),
            leaders.bar,
            scores,
            rows,
        )
        leaders.offer(scores[:found])
        return Candidates.of(self, scores[:found], rows[:found], scored)

    def above(self, query: Query, bar: np.float32, rows: NDArray[np.uint32]) -> Candidates:
        return scan(self, self._forward, self.born, self.dead, query, bar, rows)

    def frequencies(self, terms: NDArray[np.uint32], sequence: int) -> NDArray[np.int64]:
        alive = (self.born[: self.rows] <= sequence) & (self.dead[: self.rows] > sequence)
        lengths = np.diff(self.indptr[: self.rows + 1])
        stored = self.terms[: self.stored_weights][np.repeat(alive, lengths)]
        counts = np.bincount(stored, minlength=int(terms[-1]) + 1 if len(terms) else 1)
        return counts[terms]

    def visible(self, sequence: int) -> BitMap:
        alive = (self.born[: self.rows] <= sequence) & (self.dead[: self.rows] > sequence)
        return BitMap(np.flatnonzero(alive).astype(np.uint32))

    def locate(self, wanted: Keys, sequence: int) -> NDArray[np.int64]:
        rows = (self._row_of(wanted[at], sequence) for at in range(len(wanted)))
        return np.fromiter(rows, np.int64, len(wanted))

    def _row_of(self, key: bytes, sequence: int) -> int:
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

    def ids(self, rows: NDArray[np.uint32]) -> list[DocumentId]:
        return [ids.decode(self.tail.keys[row]) for row in rows.tolist()]

    def number(self, row: int) -> int:
        return self.tail.numbers[row]

    def numbers(self, rows: Sequence[int]) -> NDArray[np.int64]:
        return np.array([self.tail.numbers[row] for row in rows], np.int64)

    def vector(self, row: int) -> SparseVector:
        return self._forward.row(row)

    @property
    def _forward(self) -> Forward:
        return Forward(self.indptr, self.terms, self.weights)

    def sizes(self, rows: NDArray[np.int64], terms: range | None = None) -> Sizes:
        stored = np.array([self.tail.sizes[row] for row in rows.tolist()], np.int64).reshape(-1, 2)
        keys = [len(self.tail.keys[row]) for row in rows.tolist()]
        return Sizes(
            np.array(keys, np.int64),
            stored[:, 0],
            stored[:, 1],
            self._forward.lengths(rows, terms),
        )


def _with_room(array: NDArray[_Scalar], used: int, more: int) -> NDArray[_Scalar]:
    """`array` itself or a copy at least twice as long, with room for `more` behind `used`."""
    if used + more <= len(array):
        return array
    grown = np.empty(max(used + more, 2 * len(array)), array.dtype)
    grown[:used] = array[:used]
    return grown
