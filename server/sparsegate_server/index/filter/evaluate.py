"""Evaluates a filter over the rows of one segment, as far as its columns tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pyroaring import BitMap

from sparsegate_server.filters import (
    TEXT_FIELD,
    Condition,
    Contains,
    FieldKind,
    Filter,
    HasId,
    MinShould,
)
from sparsegate_server.index.filter.check import check, clauses
from sparsegate_server.index.filter.column import Column, FieldCondition
from sparsegate_server.index.filter.kinds import answers
from sparsegate_server.index.filter.logic import Bounds, at_least
from sparsegate_server.index.filter.paths import canonical
from sparsegate_server.types import DocumentId

__all__ = ["Find", "bounds", "check", "fields", "unindexed"]

Find: TypeAlias = Callable[[Sequence[DocumentId]], Iterable[int]]
"""Rows of those ids that a segment holds."""


def bounds(filter: Filter, rows: int, columns: Mapping[str, Column], find: Find) -> Bounds:
    """The rows of a segment that pass a checked filter: surely, and at most.

    What no column tells, `match.matches` has to say for every row between the two.

    Args:
        rows: how many rows the segment has.
        columns: by canonical field path, each of `rows` rows.
    """
    return _Segment(BitMap(range(rows)), columns, find).filtered(filter)


def fields(filter: Filter) -> set[str]:
    """The canonical paths of all fields that a filter looks at.

    Fields within a `Nested` are not paths of the document: its own field stands for them.
    """
    return {field for field, _ in _conditions(filter)}


def unindexed(filter: Filter, kinds: Mapping[str, FieldKind]) -> tuple[str, ...]:
    """The fields, sorted, that make `bounds` leave rows open for want of a fitting column.

    No column can tell what a `Nested` asks, so that its field is always among them.

    Args:
        kinds: of the columns that there are, by canonical field path.
    """
    return tuple(
        sorted(
            {
                field
                for field, condition in _conditions(filter)
                if field not in kinds or not answers(kinds[field], condition)
            }
        )
    )


def _conditions(filter: Filter) -> Iterator[tuple[str, FieldCondition]]:
    """Each condition on a field, with the field."""
    for _, condition in clauses(filter):
        match condition:
            case Filter():
                yield from _conditions(condition)
            case HasId():
                pass
            case Contains():
                yield TEXT_FIELD, condition
            case _:
                yield canonical(condition.field), condition


@dataclass(frozen=True, slots=True)
class _Segment:
    everything: BitMap
    columns: Mapping[str, Column]
    find: Find

    def filtered(self, filter: Filter) -> Bounds:
        """The clauses one after another, for as long as a row is left."""
        left = Bounds.exactly(self.everything)
        for condition in filter.must:
            if not left.upper:
                return left
            left &= self.of(condition)
        if filter.should and left.upper:
            left &= self.any_of(filter.should)
        for condition in filter.must_not:
            if not left.upper:
                return left
            left -= self.of(condition)
        match filter.min_should:
            case MinShould(conditions, count) if left.upper:
                parts = [self.of(each) for each in conditions]
                left &= at_least(count, parts, len(self.everything))
        return left

    def any_of(self, conditions: Sequence[Condition]) -> Bounds:
        first, *others = conditions
        found = self.of(first)
        for each in others:
            found |= self.of(each)
        return found

    def of(self, condition: Condition) -> Bounds:
        match condition:
            case Filter():
                return self.filtered(condition)
            case HasId(ids):
                return Bounds.exactly(BitMap(self.find(ids)))
            case Contains():
                column = self.columns.get(TEXT_FIELD)
            case _:
                column = self.columns.get(canonical(condition.field))
        return Bounds.at_most(self.everything) if column is None else column.bounds(condition)
