"""An immutable part of a shard: documents in id order, their postings and forward vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import ids, kernels
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.part import ALIVE, Candidates, Query, Scratch
from sparsegate_server.index.values import Entry, Record


@dataclass(frozen=True, slots=True, eq=False)
class Postings:
    """Impacts by window and term.

    Attributes:
        window_terms: int64 [windows + 1], where each window's dictionary begins in `terms`.
        terms: uint32, term ids, ascending within a window.
        ranges: int64 [len(terms) + 1], where each term's postings begin.
        local_ids: uint16, documents counted from the first of their window, ascending in a term.
        impacts: float32, parallel to `local_ids`.
    """

    window_terms: NDArray[np.int64]
    terms: NDArray[np.uint32]
    ranges: NDArray[np.int64]
    local_ids: NDArray[np.uint16]
    impacts: NDArray[np.float32]


@dataclass(slots=True, eq=False)
class Segment:
    """Everything but `dead` and `tombstones` stays as it was built.

    Rows are in id order, so that comparing rows compares ids. No two rows have one key.

    Attributes:
        born, dead: uint64 [n], the sequence numbers between which a document is visible.
        tombstones: how many documents are dead. The writer's own count.
    """

    keys: Keys
    records: list[Record]
    forward: Forward
    postings: Postings
    born: NDArray[np.uint64]
    dead: NDArray[np.uint64]
    tombstones: int = 0

    @classmethod
    def build(
        cls,
        keys: Keys,
        records: list[Record],
        forward: Forward,
        born: NDArray[np.uint64],
        vocabulary: int,
    ) -> Segment:
        """Inverts documents that are all alive. `keys` must ascend."""
        postings = kernels.invert(forward.indptr, forward.terms, forward.weights, vocabulary)
        dead = np.full(len(keys), ALIVE)
        return cls(keys, records, forward, Postings(*postings), born, dead)

    @property
    def rows(self) -> int:
        return len(self.keys)

    @property
    def stored_weights(self) -> int:
        return len(self.postings.impacts)

    def search(self, query: Query, bar: np.float32, scratch: Scratch) -> Candidates:
        room = min(query.limit, self.rows)
        scores = np.empty(room, np.float32)
        rows = np.empty(room, np.uint32)
        found, scored = kernels.search_segment(
            query.terms,
            query.weights,
            self.postings.window_terms,
            self.postings.terms,
            self.postings.ranges,
            self.postings.local_ids,
            self.postings.impacts,
            self.born,
            self.dead,
            query.sequence,
            bar,
            scratch.accumulator,
            scores,
            rows,
        )
        return Candidates(self, scores[:found], rows[:found], scored)

    def live_rows(self, wanted: Keys) -> NDArray[np.int64]:
        """The rows of those `wanted` documents that are here and not dead."""
        rows = self.keys.find(wanted)
        live: NDArray[np.int64] = rows[(rows >= 0) & (self.dead[rows] == ALIVE)]
        return live

    def bury(self, rows: NDArray[np.int64], sequence: int) -> None:
        """Ends the life of `rows` at `sequence`."""
        self.dead[rows] = sequence
        self.tombstones += len(rows)

    def find(self, key: bytes, sequence: int) -> int:
        row = int(self.keys.find(Keys.of([key]))[0])
        if row >= 0 and self.born[row] <= sequence < self.dead[row]:
            return row
        return -1

    def after(self, key: bytes, limit: int, sequence: int) -> list[tuple[bytes, int]]:
        first = self.keys.first_after(key)
        rows = kernels.visible_rows(
            self.born, self.dead, np.uint64(sequence), first, self.rows, limit
        )
        return [(self.keys[row], row) for row in rows.tolist()]

    def key(self, row: int) -> bytes:
        return self.keys[row]

    def entry(self, row: int) -> Entry:
        return Entry(ids.decode(self.keys[row]), self.forward.row(row), self.records[row])


def merged(segments: Sequence[Segment], vocabulary: int) -> Segment:
    """One segment of the live documents of several."""
    live = [np.flatnonzero(each.dead == ALIVE) for each in segments]
    keys = Keys.concatenated(
        [each.keys.take(rows) for each, rows in zip(segments, live, strict=True)]
    )
    runs = np.cumsum([0, *map(len, live)])
    order = kernels.merge_order(keys.blob, keys.offsets, runs)
    new_row = np.empty(len(order), np.int64)
    new_row[order] = np.arange(len(order))

    sources = []
    for number, (segment, rows) in enumerate(zip(segments, live, strict=True)):
        destination = np.full(segment.rows, -1)
        destination[rows] = new_row[runs[number] : runs[number + 1]]
        sources.append((segment.forward, destination))
    records = [
        each.records[row]
        for each, rows in zip(segments, live, strict=True)
        for row in rows.tolist()
    ]
    born = np.concatenate([each.born[rows] for each, rows in zip(segments, live, strict=True)])
    return Segment.build(
        keys.take(order),
        [records[place] for place in order.tolist()],
        Forward.gathered(sources, len(order)),
        born[order],
        vocabulary,
    )
