"""A collection: documents in shards, one increasing sequence number, searches at one instant."""

from __future__ import annotations

import heapq
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import DocumentNotFound, InvalidRequest, InvalidVector, UnknownTerm
from sparsegate_server.index import ids, kernels
from sparsegate_server.index.fan_out import fan_out
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.part import NO_BAR, Candidates, Part, Query, Scratch
from sparsegate_server.index.ranking import best
from sparsegate_server.index.shard import Rows, Shard
from sparsegate_server.index.values import Entry, Fetched, Match, Ranking, Size, Slice, Written
from sparsegate_server.types import DocumentId, SparseVector

_scratch: Final = Scratch()


@dataclass(frozen=True, slots=True, eq=False)
class _Snapshot:
    """All that a read needs, published by one assignment: a write is seen whole, in all shards,
    or not at all.

    Attributes:
        shards: the parts of every shard.
        lanes: the same parts, dealt to the threads of a search.
    """

    sequence: int
    documents: int
    segments: int
    shards: tuple[tuple[Part, ...], ...]
    lanes: tuple[tuple[Part, ...], ...]


class Collection:
    """Reads never wait for writes; writes go one at a time, whichever thread they come from.

    Args:
        vocabulary: term ids are below it.
        shards: number of parts, by hash of the id.
        tail_documents: how many new documents a shard keeps unsorted.
        threads: how many threads one search may use, the calling one included.
        pool: where the others come from; None if `threads` is 1.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        shards: int = 1,
        tail_documents: int = 1024,
        threads: int = 1,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        kernels.warm_up()
        self._vocabulary = vocabulary
        self._threads = threads
        self._pool = pool
        self._shards = [Shard(vocabulary, tail_documents) for _ in range(shards)]
        self._writing = threading.Lock()
        self._snapshot = self._taken(sequence=0, documents=0)

    # Writes. Each prepares all that can fail, then applies it, then publishes it.

    def upsert(self, entries: Sequence[Entry]) -> Written:
        """Inserts or replaces whole documents; the last of several with one id wins.

        Raises:
            InvalidRequest: an id that is none.
            InvalidVector, UnknownTerm: a vector that cannot be stored.
        """
        by_shard = self._by_shard(entries)
        with self._writing:
            self._tidy()
            before = self._snapshot
            sequence = before.sequence + 1
            changes = [
                (self._shards[shard], self._shards[shard].prepare_upsert(rows, sequence))
                for shard, rows in by_shard.items()
            ]
            replaced = sum(change.buried for _, change in changes)
            if not changes:
                return Written(before.sequence, 0)
            for shard, change in changes:
                shard.apply(change)
            new = sum(len(rows.keys) for rows in by_shard.values()) - replaced
            self._snapshot = self._taken(sequence, before.documents + new)
            return Written(sequence, replaced)

    def delete(self, document_ids: Sequence[DocumentId]) -> Written:
        """Deletes documents; unknown ids are passed over.

        Raises:
            InvalidRequest: an id that is none.
        """
        by_shard: defaultdict[int, list[bytes]] = defaultdict(list)
        for key in sorted(set(_encoded(document_ids))):
            by_shard[self._shard_of(key)].append(key)
        with self._writing:
            self._tidy()
            before = self._snapshot
            sequence = before.sequence + 1
            changes = [
                (self._shards[shard], self._shards[shard].prepare_delete(keys, sequence))
                for shard, keys in by_shard.items()
            ]
            buried = sum(change.buried for _, change in changes)
            if not buried:
                return Written(before.sequence, 0)
            for shard, change in changes:
                shard.apply(change)
            self._snapshot = self._taken(sequence, before.documents - buried)
            return Written(sequence, buried)

    # Reads. Each takes one snapshot and looks at nothing else.

    def search(self, query: SparseVector, limit: int, *, with_entries: bool = False) -> Ranking:
        """The exact `limit` best documents that share a term with the query.

        The score is float32(Σ float64(query weight) · float64(document weight)), added one at a
        time in ascending term id; ties go to the smaller id.

        Raises:
            InvalidRequest: a limit below 1.
            InvalidVector, UnknownTerm: a query that no document could be scored by.
        """
        if limit < 1:
            raise InvalidRequest(f"limit is {limit}: ask for at least 1 hit", field="limit")
        terms, weights = self._checked(query)
        snapshot = self._snapshot
        asked = Query(terms, weights, self._vocabulary, limit, np.uint64(snapshot.sequence))
        lanes = fan_out(self._pool, partial(_search_parts, asked), snapshot.lanes)
        candidates = [each for lane in lanes for each in lane]
        ranked = best(candidates, limit) if candidates else []
        return Ranking(
            [Match(ids.decode(each.key), each.score) for each in ranked],
            [each.part.entry(each.row) for each in ranked] if with_entries else [],
            snapshot.sequence,
            sum(each.scored for each in candidates),
        )

    def score(self, query: SparseVector, document_id: DocumentId) -> float | None:
        """The score that `search` would give to one document; None if it shares no term.

        Raises:
            DocumentNotFound: no such document.
        """
        terms, weights = self._checked(query)
        found = self._find(self._snapshot, ids.encode(document_id))
        if found is None:
            raise DocumentNotFound(f"no document has the id {document_id!r}", field="id")
        part, row = found
        document = part.entry(row).vector
        total = kernels.dot(terms, weights, document.indices, document.values)
        return float(np.float32(total)) if total > 0 else None

    def get(self, document_ids: Sequence[DocumentId]) -> Fetched:
        """One item per id, in order; None where there is no such document."""
        snapshot = self._snapshot
        found = [self._find(snapshot, key) for key in _encoded(document_ids)]
        entries = [None if each is None else each[0].entry(each[1]) for each in found]
        return Fetched(entries, snapshot.sequence)

    def scroll(self, after: DocumentId | None, limit: int) -> Slice:
        """The first `limit` documents whose ids come after `after`, in id order."""
        if limit < 1:
            raise InvalidRequest(f"limit is {limit}: ask for at least 1 document", field="limit")
        snapshot = self._snapshot
        key = b"" if after is None else ids.encode(after, "after")
        streams = [
            [(found, part, row) for found, row in part.after(key, limit + 1, snapshot.sequence)]
            for shard in snapshot.shards
            for part in shard
        ]
        merged = list(heapq.merge(*streams, key=lambda each: each[0]))
        entries = [part.entry(row) for _, part, row in merged[:limit]]
        return Slice(entries, len(merged) > limit, snapshot.sequence)

    def count(self) -> int:
        """Live documents."""
        return self._snapshot.documents

    def size(self) -> Size:
        snapshot = self._snapshot
        parts = [part for shard in snapshot.shards for part in shard]
        return Size(
            snapshot.sequence,
            snapshot.documents,
            snapshot.segments,
            sum(part.stored_weights for part in parts),
            sum(part.rows for part in parts) - snapshot.documents,
        )

    def _find(self, snapshot: _Snapshot, key: bytes) -> tuple[Part, int] | None:
        for part in snapshot.shards[self._shard_of(key)]:
            row = part.find(key, snapshot.sequence)
            if row >= 0:
                return part, row
        return None

    def _checked(self, query: SparseVector) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """The query's terms and weights, fit for kernels, which check nothing."""
        terms = np.ascontiguousarray(query.indices, np.uint32)
        weights = np.ascontiguousarray(query.values, np.float32)
        if len(terms) != len(weights):
            raise InvalidVector(
                f"{len(terms)} indices but {len(weights)} values: send one value per index",
                field="values",
            )
        if (terms[1:] <= terms[:-1]).any():
            raise InvalidVector("term ids must ascend without repetition", field="indices")
        if len(terms) and terms[-1] >= self._vocabulary:
            raise UnknownTerm(
                f"term id {terms[-1]} is outside the vocabulary of {self._vocabulary} terms",
                field=f"indices[{len(terms) - 1}]",
            )
        if not ((weights > 0) & np.isfinite(weights)).all():
            raise InvalidVector("weights must be finite and above 0", field="values")
        return terms, weights

    def _by_shard(self, entries: Sequence[Entry]) -> dict[int, Rows]:
        """The last entry of every id, checked, by shard, in id order."""
        forward = Forward.of([entry.vector for entry in entries])
        forward.check(self._vocabulary)
        latest = {
            ids.encode(entry.id, f"documents[{number}].id"): number
            for number, entry in enumerate(entries)
        }
        keys: defaultdict[int, list[bytes]] = defaultdict(list)
        for key in sorted(latest):
            keys[self._shard_of(key)].append(key)
        return {
            shard: _rows_of(mine, [latest[key] for key in mine], entries, forward)
            for shard, mine in keys.items()
        }

    def _shard_of(self, key: bytes) -> int:
        shards = len(self._shards)
        return ids.shard_of(key, shards) if shards > 1 else 0

    def _tidy(self) -> None:
        """Makes room before a write. The same documents at the same sequence number as before:
        if it fails, or the write after it, nothing has happened."""
        changed = [shard.tidy() for shard in self._shards]
        if any(changed):
            self._snapshot = self._taken(self._snapshot.sequence, self._snapshot.documents)

    def _taken(self, sequence: int, documents: int) -> _Snapshot:
        shards = tuple(shard.parts() for shard in self._shards)
        segments = sum(shard.segments for shard in self._shards)
        return _Snapshot(sequence, documents, segments, shards, _dealt(shards, self._threads))


def _encoded(document_ids: Sequence[DocumentId]) -> list[bytes]:
    return [ids.encode(each, f"ids[{number}]") for number, each in enumerate(document_ids)]


def _rows_of(
    keys: list[bytes], numbers: list[int], entries: Sequence[Entry], forward: Forward
) -> Rows:
    destination = np.full(len(entries), -1)
    destination[numbers] = np.arange(len(numbers))
    return Rows(
        keys,
        [entries[number].record for number in numbers],
        Forward.gathered([(forward, destination)], len(numbers)),
    )


def _dealt(shards: tuple[tuple[Part, ...], ...], threads: int) -> tuple[tuple[Part, ...], ...]:
    """The parts of all shards in up to `threads` lanes, each with its largest parts first: they
    raise the bar that the others have to clear."""
    lanes = min(threads, len(shards))
    dealt = []
    for lane in range(lanes):
        parts = [part for shard in shards[lane::lanes] for part in shard]
        dealt.append(tuple(sorted(parts, key=lambda part: part.rows, reverse=True)))
    return tuple(lane for lane in dealt if lane)


def _search_parts(query: Query, parts: tuple[Part, ...]) -> list[Candidates]:
    """Candidates of several parts, one after the other in the calling thread."""
    bar = NO_BAR
    found = []
    for part in parts:
        candidates = part.search(query, bar, _scratch)
        found.append(candidates)
        if len(candidates.scores) >= query.limit:
            # The limit-th best of this part bounds the limit-th best of all from below. What ties
            # with it may still have a smaller id, so the bar lies just under it.
            worst = np.partition(candidates.scores, -query.limit)[-query.limit]
            bar = max(bar, np.nextafter(worst, np.float32(-np.inf)))
    return found
