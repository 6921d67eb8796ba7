"""An immutable part of a shard: documents in id order, their postings and forward vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from sparsegate_server.filters import FieldKind
from sparsegate_server.index import ids, kernels
from sparsegate_server.index.chooser import SCAN, way_for
from sparsegate_server.index.filter.column import Column
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.kernels.arrays import address_of
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.leaders import Leaders
from sparsegate_server.index.part import ALIVE, Candidates, Query, Sizes
from sparsegate_server.index.postings import Postings
from sparsegate_server.index.rows import Rows
from sparsegate_server.index.scan import scan
from sparsegate_server.index.sweep import sweep
from sparsegate_server.types import DocumentId, SparseVector


@dataclass(frozen=True, slots=True, eq=False)
class Details:
    """What is known of each document besides its vector, row by row.

    Attributes:
        numbers: int64, in the store.
        born: uint64, sequence number of the write.
        text_bytes, payload_bytes: uint32, as stored.
    """

    numbers: NDArray[np.int64]
    born: NDArray[np.uint64]
    text_bytes: NDArray[np.uint32]
    payload_bytes: NDArray[np.uint32]

    def take(self, rows: NDArray[np.int64]) -> Details:
        return Details(
            self.numbers[rows], self.born[rows], self.text_bytes[rows], self.payload_bytes[rows]
        )

    @classmethod
    def concatenated(cls, parts: Sequence[Details]) -> Details:
        return cls(
            np.concatenate([each.numbers for each in parts]),
            np.concatenate([each.born for each in parts]),
            np.concatenate([each.text_bytes for each in parts]),
            np.concatenate([each.payload_bytes for each in parts]),
        )


@dataclass(slots=True, eq=False)
class Deaths:
    """What changes in a segment. Shared by all that show the same documents.

    Attributes:
        dead: uint64 [n], sequence number from which a document is not visible any more.
        touched: uint64, a bit for each document, set for all that ever had a `dead`. Searches look
            at `dead` only where it is set.
        count: how many documents are dead. The writer's own.
    """

    dead: NDArray[np.uint64]
    touched: NDArray[np.uint64]
    count: int = 0

    @classmethod
    def none(cls, rows: int) -> Deaths:
        return cls(np.full(rows, ALIVE), np.zeros(-(-rows // 64), np.uint64))

    def bury(self, rows: NDArray[np.int64], sequence: int | NDArray[np.integer[Any]]) -> None:
        """Ends the life of `rows`, none of which is dead, at `sequence`, or each at its own."""
        # The bits first: whoever may see a death must not be kept from looking for it.
        np.bitwise_or.at(self.touched, rows >> 6, np.uint64(1) << (rows & 63).astype(np.uint64))
        self.dead[rows] = sequence
        self.count += len(rows)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Rows are in id order, so that comparing rows compares ids. No two rows have one key.

    Attributes:
        columns: payload indexes by field.
        file: name of its file, "" while it has none.
        column_files: names of the columns' files, by field.
        newest: sequence number of the last write that is here.
        address: of the numbers by which kernels find its arrays, see `kernels.segment_row`.
    """

    keys: Keys
    details: Details
    forward: Forward
    postings: Postings
    deaths: Deaths
    columns: Mapping[str, Column] = field(default_factory=dict)
    file: str = ""
    column_files: Mapping[str, str] = field(default_factory=dict)
    newest: np.uint64 = field(init=False)
    address: int = field(init=False)
    _row: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        newest = self.details.born.max(initial=np.uint64(0))
        # What a search hands to its kernel. The arrays of deaths change, but stay where they are.
        row = kernels.segment_row(
            (
                *self.postings.arrays(),
                self.postings.directory,
                self.forward.indptr,
                self.forward.terms,
                self.forward.weights,
                self.details.born,
                self.deaths.dead,
                self.deaths.touched,
            ),
            self.postings.shift,
            newest,
        )
        object.__setattr__(self, "newest", newest)
        object.__setattr__(self, "_row", row)
        object.__setattr__(self, "address", address_of(row))

    @classmethod
    def build(cls, keys: Keys, details: Details, forward: Forward, vocabulary: int) -> Segment:
        """Inverts documents that are all alive. `keys` must ascend."""
        postings = Postings.of(forward, vocabulary)
        return cls(keys, details, forward, postings, Deaths.none(len(keys)))

    @classmethod
    def of(cls, rows: Rows, born: NDArray[np.uint64], vocabulary: int) -> Segment:
        """Inverts rows in key order, which are all alive.

        Args:
            born: sequence number of the write of each.
        """
        sizes = np.array(rows.sizes, np.uint32).reshape(-1, 2)
        details = Details(
            np.array(rows.numbers, np.int64),
            born,
            np.ascontiguousarray(sizes[:, 0]),
            np.ascontiguousarray(sizes[:, 1]),
        )
        return cls.build(Keys.of(rows.keys), details, rows.forward, vocabulary)

    def with_column(self, name: str, column: Column, file: str) -> Segment:
        return replace(
            self,
            columns={**self.columns, name: column},
            column_files={**self.column_files, name: file},
        )

    def has_column(self, name: str, kind: FieldKind) -> bool:
        return name in self.columns and self.columns[name].kind is kind

    def columns_for(self, kinds: Mapping[str, FieldKind]) -> dict[str, Column]:
        return {name: self.columns[name] for name in kinds}

    def without_column(self, name: str) -> Segment:
        return replace(
            self,
            columns={key: each for key, each in self.columns.items() if key != name},
            column_files={key: each for key, each in self.column_files.items() if key != name},
        )

    @property
    def rows(self) -> int:
        return len(self.keys)

    @property
    def stored_weights(self) -> int:
        return len(self.forward.terms)

    def search(self, query: Query, leaders: Leaders, allowed: Mask | None) -> Candidates:
        return self.search_by(self.way(query, allowed), query, leaders, allowed)

    def way(self, query: Query, allowed: Mask | None) -> int:
        """Which of the ways of `chooser` suits a search."""
        return way_for(query, self.rows, allowed)

    def search_by(
        self, way: int, query: Query, leaders: Leaders, allowed: Mask | None
    ) -> Candidates:
        """`search` by one of the ways of `chooser`."""
        if way != SCAN:
            return sweep((self,), (way,), (allowed,), query, leaders)
        every = np.arange(self.rows, dtype=np.uint32) if allowed is None else allowed.rows()
        found = self.above(query, leaders.bar, every)
        leaders.offer(found.scores)
        return found

    def above(self, query: Query, bar: np.float32, rows: NDArray[np.uint32]) -> Candidates:
        return scan(self, self.forward, self.details.born, self.deaths.dead, query, bar, rows)

    def frequencies(self, terms: NDArray[np.uint32], sequence: int) -> NDArray[np.int64]:
        postings = self.postings
        counts: NDArray[np.int64] = kernels.document_frequencies(
            terms,
            postings.window_terms,
            postings.terms,
            postings.ranges,
            postings.local_ids,
            postings.columns,
            postings.dense,
            self.details.born,
            self.deaths.dead,
            np.uint64(sequence),
            self._all_visible(sequence),
        )
        return counts

    def visible(self, sequence: int) -> BitMap:
        if self._all_visible(sequence):
            return BitMap(range(self.rows))
        alive = (self.details.born <= sequence) & (self.deaths.dead > sequence)
        return BitMap(np.flatnonzero(alive).astype(np.uint32))

    def _all_visible(self, sequence: int) -> bool:
        return bool((self.details.born <= sequence).all() and (self.deaths.dead > sequence).all())

    def live_rows(self, wanted: Keys) -> NDArray[np.int64]:
        """The rows of those `wanted` documents that are here and not dead."""
        rows = self.keys.find(wanted)
        live: NDArray[np.int64] = rows[(rows >= 0) & (self.deaths.dead[rows] == ALIVE)]
        return live

    def bury(self, rows: NDArray[np.int64], sequence: int) -> None:
        """Ends the life of `rows` at `sequence`."""
        self.deaths.bury(rows, sequence)

    def revive(self, rows: NDArray[np.int64]) -> None:
        """Takes a `bury` back."""
        self.deaths.dead[rows] = ALIVE
        self.deaths.count -= len(rows)

    def locate(self, wanted: Keys, sequence: int) -> NDArray[np.int64]:
        rows = self.keys.find(wanted)
        visible = (self.details.born[rows] <= sequence) & (self.deaths.dead[rows] > sequence)
        return np.where((rows >= 0) & visible, rows, -1)

    def after(self, key: bytes, limit: int, sequence: int) -> list[tuple[bytes, int]]:
        first = self.keys.first_after(key)
        rows = kernels.visible_rows(
            self.details.born, self.deaths.dead, np.uint64(sequence), first, self.rows, limit
        )
        return [(self.keys[row], row) for row in rows.tolist()]

    def key(self, row: int) -> bytes:
        return self.keys[row]

    def ids(self, rows: NDArray[np.uint32]) -> list[DocumentId]:
        integers = np.empty(len(rows), np.uint64)
        if kernels.read_integers(self.keys.blob, self.keys.offsets, rows, integers):
            return list(integers.tolist())
        return [ids.decode(self.keys[row]) for row in rows.tolist()]

    def number(self, row: int) -> int:
        return int(self.details.numbers[row])

    def numbers(self, rows: Sequence[int]) -> NDArray[np.int64]:
        return self.details.numbers[np.asarray(rows, np.int64)]

    def vector(self, row: int) -> SparseVector:
        return self.forward.row(row)

    def sizes(self, rows: NDArray[np.int64], terms: range | None = None) -> Sizes:
        return Sizes(
            self.keys.offsets[rows + 1] - self.keys.offsets[rows],
            self.details.text_bytes[rows].astype(np.int64),
            self.details.payload_bytes[rows].astype(np.int64),
            self.forward.lengths(rows, terms),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """A merge's outcome.

    Attributes:
        segment: of the documents that were alive at the merge's instant; None if there were none.
        destinations: for each source its rows' places in it, or -1: int64 [rows].
    """

    segment: Segment | None
    destinations: list[NDArray[np.int64]]

    def carry_over(self, sources: Sequence[Segment]) -> None:
        """Buries in the new segment what has died in the sources meanwhile."""
        if self.segment is None:
            return
        for source, destination in zip(sources, self.destinations, strict=True):
            rows = np.flatnonzero((destination >= 0) & (source.deaths.dead != ALIVE))
            self.segment.deaths.bury(destination[rows], source.deaths.dead[rows])

    def dropped(self, sources: Sequence[Segment]) -> NDArray[np.int64]:
        """Numbers of the documents that were left behind."""
        left = [
            source.details.numbers[destination < 0]
            for source, destination in zip(sources, self.destinations, strict=True)
        ]
        return np.concatenate(left) if left else np.empty(0, np.int64)


def merged(
    segments: Sequence[Segment],
    vocabulary: int,
    sequence: int,
    fields: Mapping[str, FieldKind] | None = None,
) -> Merged:
    """One segment of those documents of several that are alive at `sequence`.

    A death after that may not be committed yet and may be taken back: it is carried over later.

    Args:
        fields: whose columns to merge, if all segments have them.
    """
    live = [np.flatnonzero(each.deaths.dead > sequence) for each in segments]
    destinations = [np.full(each.rows, -1) for each in segments]
    if not any(map(len, live)):
        return Merged(None, destinations)
    pairs = list(zip(segments, live, strict=True))
    keys = Keys.concatenated([each.keys.take(rows) for each, rows in pairs])
    runs = np.cumsum([0, *map(len, live)])
    order = kernels.merge_order(keys.blob, keys.offsets, runs)
    new_row = np.empty(len(order), np.int64)
    new_row[order] = np.arange(len(order))
    for number, (destination, rows) in enumerate(zip(destinations, live, strict=True)):
        destination[rows] = new_row[runs[number] : runs[number + 1]]
    sources = list(zip((each.forward for each in segments), destinations, strict=True))
    segment = Segment.build(
        keys.take(order),
        Details.concatenated([each.details.take(rows) for each, rows in pairs]).take(order),
        Forward.gathered(sources, len(order)),
        vocabulary,
    )
    columns = {
        name: Column.merged([each.columns[name] for each in segments], destinations, len(order))
        for name, kind in (fields or {}).items()
        if all(each.has_column(name, kind) for each in segments)
    }
    return Merged(replace(segment, columns=columns), destinations)
