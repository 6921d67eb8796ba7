"""A payload index of one field: which rows of an immutable segment hold which values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import or_
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.filters import (
    Contains,
    Except,
    FieldKind,
    IsEmpty,
    IsNull,
    Match,
    MatchText,
    MatchValue,
    Nested,
    Range,
    TimeRange,
)
from sparsegate_server.index.filter import bitmaps
from sparsegate_server.index.filter.gather import Gatherer
from sparsegate_server.index.filter.kinds import DERIVED, OF_STRINGS, POINT_TYPES, keys_of
from sparsegate_server.index.filter.logic import Bounds
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.filter.points import Point, Points, number_point, time_point
from sparsegate_server.index.filter.stored import Arrays, required
from sparsegate_server.index.filter.terms import Terms
from sparsegate_server.index.filter.words import is_one_word, phrase_words
from sparsegate_server.types import PayloadValue

FieldCondition: TypeAlias = (
    Match | Except | MatchText | Range | TimeRange | IsNull | IsEmpty | Contains | Nested
)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The values of one field over `rows` rows.

    Attributes:
        kind: which values are indexed; the rest is only noted in `other`.
        rows: how many rows there are, those without a value included.
        null: rows that hold a null.
        empty: rows that hold nothing but nulls.
        other: rows that hold a value, not null, which `kind` does not cover.
        values: points for NUMBER and DATETIME, terms for the other kinds.
    """

    kind: FieldKind
    rows: int
    null: Mask
    empty: Mask
    other: Mask
    values: Terms | Points

    @classmethod
    def build(cls, kind: FieldKind, values_per_row: Iterable[list[PayloadValue]]) -> Column:
        """A column of the values that `paths.resolve` finds in each row's payload."""
        values = Gatherer(kind)
        null, empty, other = [], [], []
        rows = 0
        for row, found in enumerate(values_per_row):
            rows += 1
            present = [value for value in found if value is not None]
            if len(present) < len(found):
                null.append(row)
            if not present:
                empty.append(row)
            elif not values.add(row, present):
                other.append(row)
        return cls(
            kind,
            rows,
            Mask.of(null, rows),
            Mask.of(empty, rows),
            Mask.of(other, rows),
            values.gathered(rows),
        )

    @classmethod
    def merged(
        cls, columns: Sequence[Column], destinations: Sequence[NDArray[np.int64]], rows: int
    ) -> Column:
        """One column of several of the same kind, without a Python step for each row.

        Args:
            destinations: for each column int64 [its rows], the new row of each row, or -1 for one
                that is dropped. Every new row is the destination of exactly one.
            rows: how many new rows there are.
        """
        kinds = {each.kind for each in columns}
        if len(kinds) != 1:
            raise ValueError(f"columns of one kind merge, not of {sorted(kinds)}")

        def united(parts: Iterable[Mask]) -> Mask:
            moved = [target[each.rows()] for each, target in zip(parts, destinations, strict=True)]
            targets = np.concatenate(moved)
            return Mask.of(targets[targets >= 0], rows)

        return cls(
            columns[0].kind,
            rows,
            united(each.null for each in columns),
            united(each.empty for each in columns),
            united(each.other for each in columns),
            _merged([each.values for each in columns], destinations, rows),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but kind and rows as named one-dimensional arrays, to be stored."""
        return {
            "null": bitmaps.packed(self.null.bitmap()),
            "empty": bitmaps.packed(self.empty.bitmap()),
            "other": bitmaps.packed(self.other.bitmap()),
            **self.values.arrays(),
        }

    @classmethod
    def from_arrays(cls, kind: FieldKind, rows: int, arrays: Arrays) -> Column:
        """The column whose `arrays()` these are; they are kept, not copied.

        Raises:
            ValueError: the arrays are not those of such a column.
        """

        def noted(name: str) -> Mask:
            found = bitmaps.unpacked(required(arrays, name, np.uint8))
            if found and found.max() >= rows:
                raise ValueError(f"bitmap {name} has row {found.max()} of {rows} rows")
            return Mask.of_bitmap(found, rows)

        values: Terms | Points
        if dtypes := POINT_TYPES.get(kind):
            values = Points.from_arrays(dtypes, arrays, rows)
        else:
            values = Terms.from_arrays(arrays, rows)
        return cls(kind, rows, noted("null"), noted("empty"), noted("other"), values)

    def bounds(self, condition: FieldCondition) -> Bounds:
        """The rows that match a condition on this column's field: surely, and at most.

        The two are the same wherever the kind covers what the condition looks for.
        """
        match condition:
            case Match(values=wanted):
                return self._equal(wanted)
            case Except(values=barred):
                return self._unequal(barred)
            case Contains(phrase) if self.kind is FieldKind.TEXT:
                found = self._with_words(phrase_words(phrase))
                return Bounds.exactly(found) if is_one_word(phrase) else Bounds.at_most(found)
        told = self._told(condition)
        if told is not None:
            return Bounds.exactly(told)
        # The condition looks for strings, for numbers or for objects.
        strings = isinstance(condition, MatchText | TimeRange | Contains)
        hidden = strings and self.kind in OF_STRINGS
        return Bounds.at_most(self._present() if hidden else self.other)

    def _told(self, condition: FieldCondition) -> Mask | None:
        """The rows that match, if the kind covers just what the condition looks for."""
        match self.kind, condition:
            case _, IsNull():
                return self.null
            case _, IsEmpty():
                return self.empty
            case FieldKind.TEXT, MatchText(text=text):
                return self._with_words(phrase_words(text))
            case FieldKind.NUMBER, Range() as numbers:
                return self._within(numbers, number_point)
            case FieldKind.DATETIME, TimeRange() as times:
                return self._within(times, time_point)
        return None

    def _equal(self, wanted: Sequence[MatchValue]) -> Bounds:
        covered, all_covered = self._covered(wanted)
        if self.kind is FieldKind.TEXT:
            found = reduce(or_, map(self._with_words, covered), Mask.none(self.rows))
        else:
            found = self.values.with_any(chain.from_iterable(covered))
        upper = found if all_covered else found | self.other
        if upper is found and self.kind not in DERIVED:
            return Bounds.exactly(found)
        return Bounds.at_most(upper) if self.kind in DERIVED else Bounds(found, upper)

    def _unequal(self, barred: Sequence[MatchValue]) -> Bounds:
        covered, all_covered = self._covered(barred)
        other = self.other if all_covered else Mask.none(self.rows)
        if self.kind not in DERIVED:
            found = self.values.with_others(chain.from_iterable(covered))
            upper = found | self.other
            return Bounds(upper if all_covered else found, upper)
        present = self._present()
        return Bounds(other if covered else other | (present - self.other), present)

    def _covered(self, values: Sequence[MatchValue]) -> tuple[list[Collection[Any]], bool]:
        """The keys of those values that the kind covers, and whether it covers all."""
        keys = [keys_of(self.kind, value) for value in values]
        covered = [each for each in keys if each is not None]
        return covered, len(covered) == len(keys)

    def _with_words(self, words: Collection[str]) -> Mask:
        """The rows whose strings hold all of `words`, be there none."""
        assert isinstance(self.values, Terms)
        return self.values.with_all(words) if words else self._present()

    def _within(self, bounds: Range | TimeRange, point: Callable[[Any], Point]) -> Mask:
        assert isinstance(self.values, Points)
        return self.values.within(bounds, point)

    def _present(self) -> Mask:
        """The rows that hold a value which is not null."""
        return ~self.empty


def _merged(
    parts: Sequence[Terms | Points], destinations: Sequence[NDArray[np.int64]], rows: int
) -> Terms | Points:
    if terms := [each for each in parts if isinstance(each, Terms)]:
        return Terms.merged(terms, destinations, rows)
    return Points.merged([each for each in parts if isinstance(each, Points)], destinations, rows)
