"""What a read sees: the parts of all shards at one sequence number, and who is looking at what."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sparsegate_server.filters import FieldKind
from sparsegate_server.index import ids
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.part import Part

Place: TypeAlias = tuple[Part, int]
"""A part and a row of it: where a document is."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """All that a read needs, published by one assignment: a write is seen whole, in all shards, or
    not at all.

    Attributes:
        documents: how many are alive.
        shards: the parts of every shard.
        lanes: the same parts, dealt to the threads of a search.
        indexes: payload indexes that every segment has a column of.
    """

    sequence: int
    documents: int
    shards: tuple[tuple[Part, ...], ...]
    lanes: tuple[tuple[Part, ...], ...]
    indexes: Mapping[str, FieldKind]

    @property
    def parts(self) -> list[Part]:
        return [part for shard in self.shards for part in shard]

    def find(self, keys: Sequence[bytes]) -> list[Place | None]:
        """Where each document is, None where there is no such document."""
        places: list[Place | None] = [None] * len(keys)
        by_shard: defaultdict[int, list[int]] = defaultdict(list)
        for at, key in enumerate(keys):
            by_shard[ids.shard_of(key, len(self.shards))].append(at)
        for shard, mine in by_shard.items():
            wanted = Keys.of([keys[at] for at in mine])
            for part in self.shards[shard]:
                rows = part.locate(wanted, self.sequence)
                for number in np.flatnonzero(rows >= 0).tolist():
                    places[mine[number]] = part, int(rows[number])
        return places


class Published:
    """The newest view, and the sequence numbers that reads are pinned to."""

    def __init__(self, view: View) -> None:
        self._lock = threading.Lock()
        self._view = view
        self._pinned: dict[int, int] = {}

    @property
    def view(self) -> View:
        return self._view

    def publish(self, view: View) -> None:
        with self._lock:
            self._view = view

    def pin(self) -> Pin:
        """The newest view; what it shows stays readable, in the store too, while the context
        lasts."""
        return Pin(self)

    def take(self) -> View:
        """The newest view, pinned until it is given back."""
        with self._lock:
            view = self._view
            self._pinned[view.sequence] = self._pinned.get(view.sequence, 0) + 1
            return view

    def give_back(self, view: View) -> None:
        with self._lock:
            left = self._pinned[view.sequence] - 1
            if left:
                self._pinned[view.sequence] = left
            else:
                del self._pinned[view.sequence]

    def oldest(self) -> int:
        """The smallest sequence number that a read is pinned to now or will be."""
        with self._lock:
            return min(self._pinned, default=self._view.sequence)


class Pin:
    """A view for as long as the context lasts. A class, because a generator takes a microsecond."""

    __slots__ = ("_published", "_view")

    def __init__(self, published: Published) -> None:
        self._published = published

    def __enter__(self) -> View:
        self._view = self._published.take()
        return self._view

    def __exit__(self, *_: object) -> None:
        self._published.give_back(self._view)


def dealt(shards: tuple[tuple[Part, ...], ...], threads: int) -> tuple[tuple[Part, ...], ...]:
    """The parts of all shards in up to `threads` lanes, each with its largest parts first: they
    raise the bar that the others have to clear."""
    lanes = []
    for lane in range(min(threads, len(shards))):
        parts = [part for shard in shards[lane::threads] for part in shard]
        lanes.append(tuple(sorted(parts, key=lambda part: part.rows, reverse=True)))
    return tuple(lane for lane in lanes if lane)
