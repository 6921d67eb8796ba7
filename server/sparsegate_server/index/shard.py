"""The writer's side of a shard: a few segments and a tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import merge
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.part import Part
from sparsegate_server.index.segment import Segment, merged
from sparsegate_server.index.tail import Tail
from sparsegate_server.index.values import Record


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Checked documents of one write, in ascending key order, no key twice."""

    keys: list[bytes]
    records: list[Record]
    forward: Forward


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A prepared write to one shard. Applying it allocates nothing of size and cannot fail.

    Attributes:
        graves: what dies, by part: rows that hold a document now.
        rows: what goes into the tail, which has room for it.
        segment: what was inverted at once, because it would have filled a tail anyway.
    """

    sequence: int
    graves: list[tuple[Segment | Tail, NDArray[np.int64]]]
    rows: Rows | None = None
    segment: Segment | None = None

    @property
    def buried(self) -> int:
        return sum(len(rows) for _, rows in self.graves)


class Shard:
    """Segments and a tail; used by one writer at a time. Searches use `parts`."""

    def __init__(self, vocabulary: int, tail_documents: int) -> None:
        self._vocabulary = vocabulary
        self._tail_documents = tail_documents
        self._segments: list[Segment] = []
        self._tail = Tail()

    def parts(self) -> tuple[Part, ...]:
        """What a search of this shard looks through, as it is now."""
        tail = (self._tail.view(),) if self._tail.count else ()
        return (*self._segments, *tail)

    @property
    def segments(self) -> int:
        return len(self._segments)

    def tidy(self) -> bool:
        """Seals a full tail and merges segments that have become too many or too dead.

        Changes no document. Returns whether `parts` changed.
        """
        changed = False
        if self._tail.count >= self._tail_documents:
            segment = self._tail.sealed(self._vocabulary)
            kept = [*self._segments, segment] if segment else self._segments
            self._segments, self._tail = kept, Tail()
            changed = True
        while chosen := merge.plan(
            [merge.Weight(each.rows, each.tombstones) for each in self._segments],
            self._tail_documents,
        ):
            sources = [self._segments[place] for place in chosen]
            alive = any(each.rows > each.tombstones for each in sources)
            result = [merged(sources, self._vocabulary)] if alive else []
            kept = [each for each in self._segments if each not in sources]
            self._segments = kept + result
            changed = True
        return changed

    def prepare_upsert(self, rows: Rows, sequence: int) -> Change:
        """Everything about an upsert that can fail."""
        graves = self._graves(rows.keys)
        if len(rows.keys) >= self._tail_documents:
            born = np.full(len(rows.keys), sequence, np.uint64)
            segment = Segment.build(
                Keys.of(rows.keys), rows.records, rows.forward, born, self._vocabulary
            )
            return Change(sequence, graves, segment=segment)
        self._tail.reserve(len(rows.keys), len(rows.forward.terms))
        return Change(sequence, graves, rows=rows)

    def prepare_delete(self, keys: Sequence[bytes], sequence: int) -> Change:
        """Everything about a delete that can fail."""
        return Change(sequence, self._graves(keys))

    def apply(self, change: Change) -> None:
        for part, rows in change.graves:
            part.bury(rows, change.sequence)
        if change.rows:
            self._tail.append(
                change.rows.keys, change.rows.records, change.rows.forward, change.sequence
            )
        if change.segment:
            self._segments = [*self._segments, change.segment]

    def _graves(self, keys: Sequence[bytes]) -> list[tuple[Segment | Tail, NDArray[np.int64]]]:
        wanted = Keys.of(keys)
        found: list[tuple[Segment | Tail, NDArray[np.int64]]] = [
            (segment, segment.live_rows(wanted)) for segment in self._segments
        ]
        found.append((self._tail, self._tail.live_rows(keys)))
        return [(part, rows) for part, rows in found if len(rows)]
