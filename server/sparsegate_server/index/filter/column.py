"""A payload index of one field: which rows of an immutable segment hold which values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, TypeAlias

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
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.filter.points import Points, number_point, time_point
from sparsegate_server.index.filter.program import EVERY, NONE, OR, WITHOUT, Program, of_mask
from sparsegate_server.index.filter.stored import Arrays, required
from sparsegate_server.index.filter.terms import Terms
from sparsegate_server.index.filter.words import is_one_word, phrase_words
from sparsegate_server.types import PayloadValue

FieldCondition: TypeAlias = (
    Match | Except | MatchText | Range | TimeRange | IsNull | IsEmpty | Contains | Nested
)

Told: TypeAlias = tuple[Program, Program | None]
"""The rows that may match, and those of them that surely do; None if these are the same."""


_SHORT: Final = {
    "_names": FieldKind.KEYWORD,
    "_numbers": FieldKind.NUMBER,
    "_times": FieldKind.DATETIME,
}


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
    _null: Program = field(init=False)
    _empty: Program = field(init=False)
    _other: Program = field(init=False)
    # The values, if they are of that kind, for the conditions that most filters are made of.
    _names: Terms | None = field(init=False)
    _numbers: Points | None = field(init=False)
    _times: Points | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_null", of_mask(self.null))
        object.__setattr__(self, "_empty", of_mask(self.empty))
        object.__setattr__(self, "_other", of_mask(self.other))
        for name, kind in _SHORT.items():
            object.__setattr__(self, name, self.values if self.kind is kind else None)

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

    def told(self, condition: FieldCondition) -> Told:  # noqa: PLR0911  a way for each type
        """The rows that match a condition on this column's field: at most, and surely.

        The two are the same wherever the kind covers what the condition looks for.

        Raises:
            ValueError: what is stored leads beyond the rows, if that is seen so early.
        """
        match condition:
            case Match(values=wanted):
                return self._equal(wanted)
            case Range() if self._numbers:
                return self._numbers.within(condition, number_point), None
            case TimeRange() if self._times:
                return self._times.within(condition, time_point), None
            case Except(values=barred):
                return self._unequal(barred)
            case IsNull():
                return self._null, None
            case IsEmpty():
                return self._empty, None
            case MatchText(text=text) if self.kind is FieldKind.TEXT:
                return self._with_words(phrase_words(text)), None
            case Contains(phrase) if self.kind is FieldKind.TEXT:
                found = self._with_words(phrase_words(phrase))
                return found, None if is_one_word(phrase) else NONE
        # The condition looks for strings, for numbers or for objects.
        strings = isinstance(condition, MatchText | TimeRange | Contains)
        hidden = strings and self.kind in OF_STRINGS
        return self._present() if hidden else self._other, NONE

    def _equal(self, wanted: Sequence[MatchValue]) -> Told:
        # The most frequent condition of all is worth a shorter way.
        if self._names and (known := self._names.known(wanted)) is not None:
            return known, None
        covered, all_covered = self._covered(wanted)
        if self.kind is FieldKind.TEXT:
            found = NONE + b"".join(self._with_words(words) + OR for words in covered)
        else:
            found = self.values.with_any(chain.from_iterable(covered))
        upper = found if all_covered else found + self._other + OR
        if self.kind in DERIVED:
            return upper, NONE
        return upper, None if all_covered else found

    def _unequal(self, barred: Sequence[MatchValue]) -> Told:
        covered, all_covered = self._covered(barred)
        if self.kind not in DERIVED:
            found = self.values.with_others(chain.from_iterable(covered))
            upper = found + self._other + OR
            return upper, None if all_covered else found
        present, other = self._present(), self._other if all_covered else NONE
        if covered:
            return present, other
        return present, present + self._other + WITHOUT + other + OR

    def _covered(self, values: Sequence[MatchValue]) -> tuple[list[Collection[Any]], bool]:
        """The keys of those values that the kind covers, and whether it covers all."""
        keys = [keys_of(self.kind, value) for value in values]
        covered = [each for each in keys if each is not None]
        return covered, len(covered) == len(keys)

    def _with_words(self, words: Collection[str]) -> Program:
        """The rows whose strings hold all of `words`, be there none."""
        assert isinstance(self.values, Terms)
        return self.values.with_all(words) if words else self._present()

    def _present(self) -> Program:
        """The rows that hold a value which is not null."""
        return EVERY + self._empty + WITHOUT


def _merged(
    parts: Sequence[Terms | Points], destinations: Sequence[NDArray[np.int64]], rows: int
) -> Terms | Points:
    if terms := [each for each in parts if isinstance(each, Terms)]:
        return Terms.merged(terms, destinations, rows)
    return Points.merged([each for each in parts if isinstance(each, Points)], destinations, rows)
