"""Evaluates a filter over the rows of one segment, as far as its columns tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sparsegate_server.filters import (
    TEXT_FIELD,
    Condition,
    Contains,
    FieldKind,
    Filter,
    HasId,
    MinShould,
)
from sparsegate_server.index.filter.check import check
from sparsegate_server.index.filter.column import Column, FieldCondition
from sparsegate_server.index.filter.kinds import answers
from sparsegate_server.index.filter.logic import Bounds, at_least
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.filter.paths import canonical
from sparsegate_server.types import DocumentId

__all__ = ["Find", "bounds", "check", "conditions", "unindexed"]

Find: TypeAlias = Callable[[Sequence[DocumentId]], Iterable[int]]
"""Rows of those ids that a segment holds."""


def bounds(filter: Filter, rows: int, columns: Mapping[str, Column], find: Find) -> Bounds:
    """The rows of a segment that pass a checked filter: surely, and at most.

    What no column tells, `match.matches` has to say for every row between the two.

    Args:
        rows: how many rows the segment has.
        columns: by canonical field path, each of `rows` rows.
    """
    return _Segment(rows, columns, find).filtered(filter)


def unindexed(
    asked: Iterable[tuple[str, FieldCondition]], kinds: Mapping[str, FieldKind]
) -> tuple[str, ...]:
    """The fields, sorted, that make `bounds` leave rows open for want of a fitting column.

    No column can tell what a `Nested` asks, so that its field is always among them.

    Args:
        asked: the `conditions` of a filter.
        kinds: of the columns that there are, by canonical field path.
    """
    found = {
        field
        for field, condition in asked
        if field not in kinds or not answers(kinds[field], condition)
    }
    return tuple(sorted(found))


def conditions(filter: Filter) -> list[tuple[str, FieldCondition]]:
    """Each condition on a field, with the field's canonical path.

    Fields within a `Nested` are not paths of the document: its own field stands for them.
    """
    found: list[tuple[str, FieldCondition]] = []
    _collect(filter, found)
    return found


def _collect(filter: Filter, found: list[tuple[str, FieldCondition]]) -> None:
    extra = filter.min_should.conditions if filter.min_should else ()
    for condition in (*filter.must, *filter.should, *filter.must_not, *extra):
        match condition:
            case Filter():
                _collect(condition, found)
            case HasId():
                pass
            case Contains():
                found.append((TEXT_FIELD, condition))
            case _:
                found.append((canonical(condition.field), condition))


@dataclass(frozen=True, slots=True)
class _Segment:
    rows: int
    columns: Mapping[str, Column]
    find: Find

    def filtered(self, filter: Filter) -> Bounds:
        """The clauses one after another, for as long as a row is left."""
        left: Bounds | None = None
        for condition in filter.must:
            left = self.of(condition) if left is None else left & self.of(condition)
            if not left.upper:
                return left
        if filter.should:
            found = self.any_of(filter.should)
            left = found if left is None else left & found
        if left is None:
            left = Bounds.exactly(Mask.every(self.rows))
        for condition in filter.must_not:
            if not left.upper:
                return left
            left -= self.of(condition)
        match filter.min_should:
            case MinShould(conditions, count) if left.upper:
                parts = [self.of(each) for each in conditions]
                left &= at_least(count, parts, self.rows)
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
                return Bounds.exactly(Mask.of(self.find(ids), self.rows))
            case Contains():
                column = self.columns.get(TEXT_FIELD)
            case _:
                column = self.columns.get(canonical(condition.field))
        return Bounds.at_most(Mask.every(self.rows)) if column is None else column.bounds(condition)
