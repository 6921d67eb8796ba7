"""The writer's side of a shard: segments, a tail, and the tail before it while it is sealed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.keys import Keys
from sparsegate_server.index.part import Part
from sparsegate_server.index.rows import Rows
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.tail import Tail

Undo = list[Callable[[], None]]
"""What takes a change back, step by step from the last to the first."""


@dataclass(slots=True, eq=False)
class Shard:
    """Used by whoever holds the collection's lock.

    Attributes:
        frozen: the tail that is being sealed; nothing is appended to it any more.
    """

    tail: Tail
    segments: list[Segment] = field(default_factory=list)
    frozen: Tail | None = None

    def parts(self) -> tuple[Part, ...]:
        """What a search of this shard looks through, as it is now."""
        tails = [each.view() for each in (self.frozen, self.tail) if each and each.count]
        return (*self.segments, *tails)

    @property
    def rows(self) -> int:
        """Stored documents, dead ones included."""
        return sum(part.rows for part in self.parts())

    @property
    def dead(self) -> int:
        tails = self.tail.tombstones + (self.frozen.tombstones if self.frozen else 0)
        return tails + sum(each.deaths.count for each in self.segments)

    def bury(self, keys: Sequence[bytes], sequence: int, undo: Undo) -> list[int]:
        """Ends the life of those documents that are here; returns their numbers."""
        wanted = Keys.of(keys)
        numbers: list[int] = []
        for segment in self.segments:
            rows = segment.live_rows(wanted)
            if len(rows):
                _bury(segment, rows, sequence, undo)
                numbers += segment.details.numbers[rows].tolist()
        for tail in (self.frozen, self.tail):
            if tail is None or not tail.count:
                continue
            rows = tail.live_rows(keys)
            if len(rows):
                _bury(tail, rows, sequence, undo)
                numbers += [tail.numbers[row] for row in rows.tolist()]
        return numbers

    def append(self, rows: Rows, sequence: int, undo: Undo) -> None:
        tail, first = self.tail, self.tail.count
        undo.append(lambda: tail.abandon(first))
        tail.append(rows, sequence)


def _bury(part: Segment | Tail, rows: NDArray[np.int64], sequence: int, undo: Undo) -> None:
    undo.append(lambda: part.revive(rows))
    part.bury(rows, sequence)
