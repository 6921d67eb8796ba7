"""What a collection holds in memory, and how it changes: by writes, seals, merges, new columns."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence

from sparsegate_server.filters import FieldKind
from sparsegate_server.index import ids
from sparsegate_server.index.forward import term_type
from sparsegate_server.index.rows import Rows
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.shard import Shard, Undo
from sparsegate_server.index.tail import Tail
from sparsegate_server.index.view import Published, View, dealt


class Contents:
    """Shards and the newest view of them. Whoever changes something holds `lock`, from the first
    change until it is published or taken back.

    Attributes:
        sequence: of the last write.
        next_number: of the next document.
        indexes: declared payload indexes, by canonical field.
        published: what reads see.
    """

    def __init__(
        self,
        vocabulary: int,
        segments: Sequence[Sequence[Segment]],
        *,
        sequence: int,
        next_number: int,
        indexes: Mapping[str, FieldKind],
        threads: int,
    ) -> None:
        self.vocabulary = vocabulary
        self.lock = threading.RLock()
        self.sequence = sequence
        self.next_number = next_number
        self.indexes = dict(indexes)
        self._threads = threads
        self._term_type = term_type(vocabulary)
        self.shards = [Shard(self.new_tail(), list(each)) for each in segments]
        self.published = Published(self.taken())

    def new_tail(self) -> Tail:
        return Tail(self._term_type)

    def publish(self) -> None:
        self.published.publish(self.taken())

    def taken(self) -> View:
        """A view of the contents as they are, whether published or not."""
        shards = tuple(shard.parts() for shard in self.shards)
        segments = [segment for shard in self.shards for segment in shard.segments]
        ready = {
            name: kind
            for name, kind in self.indexes.items()
            if all(segment.has_column(name, kind) for segment in segments)
        }
        documents = sum(shard.rows - shard.dead for shard in self.shards)
        return View(self.sequence, documents, shards, dealt(shards, self._threads), ready)

    def tail_rows(self) -> int:
        """Documents that are not being sealed yet, dead ones included."""
        return sum(shard.tail.count for shard in self.shards)

    def bury(self, keys: Sequence[bytes], sequence: int, undo: Undo) -> list[int]:
        """Ends the life of documents; returns the numbers of those that were alive."""
        by_shard: defaultdict[int, list[bytes]] = defaultdict(list)
        for key in keys:
            by_shard[self._shard_of(key)].append(key)
        numbers: list[int] = []
        for shard, mine in by_shard.items():
            numbers += self.shards[shard].bury(mine, sequence, undo)
        return numbers

    def take_numbers(self, count: int) -> range:
        """Numbers that no document had before; a write that fails leaves a gap."""
        first = self.next_number
        self.next_number += count
        return range(first, self.next_number)

    def add(self, rows: Rows, sequence: int, undo: Undo) -> None:
        """Adds documents to the tails."""
        if len(self.shards) == 1:
            self.shards[0].append(rows, sequence, undo)
            return
        places: defaultdict[int, list[int]] = defaultdict(list)
        for at, key in enumerate(rows.keys):
            places[self._shard_of(key)].append(at)
        for shard, mine in places.items():
            self.shards[shard].append(rows.take(mine), sequence, undo)

    def _shard_of(self, key: bytes) -> int:
        return ids.shard_of(key, len(self.shards))
