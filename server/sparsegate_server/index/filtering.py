"""Which rows of a view pass a filter: columns first, then, within a limit, document by document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pyroaring import BitMap

from sparsegate_server.errors import InvalidFilter, UnindexedFilter
from sparsegate_server.filters import TEXT_FIELD, Filter
from sparsegate_server.index import ids
from sparsegate_server.index.filter import evaluate
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


@dataclass(frozen=True, slots=True, eq=False)
class Passing:
    """The visible rows that pass a filter, part by part.

    Attributes:
        rows: by part.
        unindexed: fields that no index covers.
    """

    rows: dict[Part, BitMap]
    unindexed: tuple[str, ...]

    def count(self) -> int:
        return sum(map(len, self.rows.values()))


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
        evaluate.check(filter)
        unindexed = evaluate.unindexed(filter, view.indexes)
        with_text = TEXT_FIELD in evaluate.fields(filter)
        if with_text and not self._texts:
            raise InvalidFilter(
                "the collection keeps no texts, so that none can be looked into", field="filter"
            )
        sure: dict[Part, BitMap] = {}
        open_: dict[Segment, BitMap] = {}
        for part in view.parts:
            visible = part.visible(view.sequence)
            lower, rest = _by_columns(part, filter, view, visible)
            if isinstance(part, Segment):
                open_[part] = rest
            else:
                lower |= BitMap(row for row in rest if _passes(part, row, filter))
            sure[part] = lower
        self._check_cost(sum(map(len, open_.values())), unindexed)
        for segment, rows in open_.items():
            if rows:
                sure[segment] |= self._by_reading(segment, filter, rows, with_text=with_text)
        return Passing(sure, unindexed)

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

    def _by_reading(
        self, segment: Segment, filter: Filter, rows: BitMap, *, with_text: bool
    ) -> BitMap:
        """Those of the rows whose documents in the store pass."""
        passing = BitMap()
        every = list(rows)
        for start in range(0, len(every), _BATCH):
            batch = every[start : start + _BATCH]
            places = [(segment, row) for row in batch]
            records = self._hydration.records(places, text=with_text)
            passing.update(
                row
                for row, (text, payload) in zip(batch, records, strict=True)
                if matches(filter, ids.decode(segment.key(row)), text, payload)
            )
        return passing


def _by_columns(part: Part, filter: Filter, view: View, visible: BitMap) -> tuple[BitMap, BitMap]:
    """The visible rows that surely pass, and those that the columns leave open."""

    def find(wanted: Sequence[DocumentId]) -> Iterable[int]:
        rows = part.locate(Keys.of(ids.encode_all(wanted, "filter.has_id")), view.sequence)
        return rows[rows >= 0].astype(np.uint32)

    asked = evaluate.fields(filter)
    columns = part.columns_for({name: view.indexes[name] for name in asked & view.indexes.keys()})
    bounds = evaluate.bounds(filter, part.rows, columns, find)
    lower = bounds.lower & visible
    return lower, (bounds.upper & visible) - lower


def _passes(part: Part, row: int, filter: Filter) -> bool:
    assert isinstance(part, TailView)
    record = part.tail.records[row]
    return matches(filter, ids.decode(part.key(row)), record.text, record.payload)
