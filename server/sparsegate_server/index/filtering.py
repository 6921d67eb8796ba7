"""Which rows of a view pass a filter: columns first, then, within a limit, document by document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
from pyroaring import BitMap

from sparsegate_server.errors import InvalidFilter, UnindexedFilter
from sparsegate_server.filters import TEXT_FIELD, FieldKind, Filter
from sparsegate_server.index import ids
from sparsegate_server.index.filter import evaluate
from sparsegate_server.index.filter.column import Column
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.filter.match import matches
from sparsegate_server.index.hydration import Hydration
from sparsegate_server.index.keys import Keys
from sparsegate_server.index.part import Part
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.tail import TailView
from sparsegate_server.index.view import View
from sparsegate_server.types import DocumentId

_BATCH: Final = 2_000
"""Documents that are read from the store at a time."""


@dataclass(slots=True, eq=False)
class Passing:
    """The rows that pass a filter, part by part.

    Attributes:
        masks: by part. Rows that are not visible may be among them: whoever searches looks at
            what is born and dead anyway.
        unindexed: fields that no index covers.
        sequence: the instant that was asked about.
    """

    masks: dict[Part, Mask]
    unindexed: tuple[str, ...]
    sequence: int
    _rows: dict[Part, BitMap] | None = field(default=None, init=False)

    @property
    def rows(self) -> dict[Part, BitMap]:
        """The visible rows that pass, by part. As good as the view: to be asked while it lasts."""
        if self._rows is None:
            self._rows = {
                part: mask.bitmap() & part.visible(self.sequence) if mask else BitMap()
                for part, mask in self.masks.items()
            }
        return self._rows

    def count(self) -> int:
        """How many visible rows pass."""
        return sum(
            (mask & _visible(part, self.sequence)).count for part, mask in self.masks.items()
        )


class Filtering:
    """Evaluates filters.

    Args:
        most_unindexed: how many sealed documents one filter may read from the store.
        texts: whether the collection keeps texts.
    """

    def __init__(self, hydration: Hydration, most_unindexed: int, *, texts: bool) -> None:
        self._hydration = hydration
        self._texts = texts
        self._most = most_unindexed

    def passing(self, view: View, filter: Filter) -> Passing:
        """The rows of a view that pass.

        Raises:
            InvalidFilter: a field, a word or a bound that cannot be understood.
            UnindexedFilter: too many documents would have to be read.
        """
        parts = view.parts
        sure: dict[Part, Mask] = {}
        open_: dict[Segment, Mask] = {}
        read = _read(parts[0], view, filter) if parts else _of_nothing(view, filter)
        if TEXT_FIELD in read.fields and not self._texts:
            raise InvalidFilter(
                "the collection keeps no texts, so that none can be looked into", field="filter"
            )
        unindexed = tuple(sorted(read.unindexed))
        for number, part in enumerate(parts):
            bounds = _read(part, view, filter) if number else read
            sure[part] = bounds.lower
            if bounds.exact:
                continue
            rest = (bounds.upper - bounds.lower) & _visible(part, view.sequence)
            if isinstance(part, Segment):
                open_[part] = rest
            else:
                passing = (row for row in rest if _passes(part, row, filter))
                sure[part] |= Mask.of(passing, part.rows)
        if open_:
            self._check_cost(sum(map(len, open_.values())), unindexed)
        for segment, rows in open_.items():
            if rows:
                with_text = TEXT_FIELD in read.fields
                sure[segment] |= self._by_reading(segment, filter, rows, with_text=with_text)
        return Passing(sure, unindexed, view.sequence)

    def _check_cost(self, documents: int, unindexed: Sequence[str]) -> None:
        if documents <= self._most:
            return
        named = ", ".join(unindexed)
        advice = (
            f"no payload index can answer what it asks of {named}: make one of the right kind with"
            f" CreatePayloadIndex (kind text for {TEXT_FIELD}; a nested filter has none)"
            if unindexed
            else "its words occur in too many: ask for fewer at a time, or add a condition"
        )
        raise UnindexedFilter(
            f"the filter would have to read {documents} documents, more than the {self._most}"
            f" allowed, because {advice}",
            field="filter",
            metadata={"fields": named},
        )

    def _by_reading(self, segment: Segment, filter: Filter, rows: Mask, *, with_text: bool) -> Mask:
        """Those of the rows whose documents in the store pass."""
        passing: list[int] = []
        every = list(rows)
        for start in range(0, len(every), _BATCH):
            batch = every[start : start + _BATCH]
            places = [(segment, row) for row in batch]
            records = self._hydration.records(places, text=with_text)
            passing.extend(
                row
                for row, (text, payload) in zip(batch, records, strict=True)
                if matches(filter, ids.decode(segment.key(row)), text, payload)
            )
        return Mask.of(passing, segment.rows)


def _read(part: Part, view: View, filter: Filter) -> evaluate.Bounds:
    """What the columns of a part tell of a filter."""
    if isinstance(part, Segment):
        column: Callable[[str], Column | None] = part.columns.get
    else:
        column = partial(_column, part, view.indexes)
    find = partial(_find, part, view.sequence)
    return evaluate.bounds(filter, part.rows, view.indexes, column, find)


def _of_nothing(view: View, filter: Filter) -> evaluate.Bounds:
    """A filter is checked even if there is nothing that could pass."""
    return evaluate.bounds(filter, 0, view.indexes, lambda _: None, lambda _: ())


def _column(part: Part, kinds: Mapping[str, FieldKind], name: str) -> Column:
    return part.columns_for({name: kinds[name]})[name]


def _find(part: Part, sequence: int, wanted: Sequence[DocumentId]) -> Iterable[int]:
    """The rows of those documents that are visible in the part."""
    rows = part.locate(Keys.of(ids.encode_all(wanted, "filter.has_id")), sequence)
    return rows[rows >= 0].astype(np.uint32)


def _visible(part: Part, sequence: int) -> Mask:
    visible = part.visible(sequence)
    if len(visible) == part.rows:
        return Mask.every(part.rows)
    return Mask.of_bitmap(visible, part.rows)


def _passes(part: Part, row: int, filter: Filter) -> bool:
    assert isinstance(part, TailView)
    record = part.tail.records[row]
    return matches(filter, ids.decode(part.key(row)), record.text, record.payload)
