"""Evaluates a filter over the rows of one segment, as far as its columns tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from sparsegate_server.errors import InvalidFilter
from sparsegate_server.filters import (
    TEXT_FIELD,
    Condition,
    Contains,
    FieldKind,
    Filter,
    HasId,
)
from sparsegate_server.index.filter.check import OPERANDS, check, check_count
from sparsegate_server.index.filter.column import Column
from sparsegate_server.index.filter.kinds import answers
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.filter.paths import canonical
from sparsegate_server.index.filter.program import (
    AND,
    EVERY,
    NONE,
    OR,
    WITHOUT,
    Program,
    in_at_least,
    of_mask,
    run,
)
from sparsegate_server.types import DocumentId

__all__ = ["Bounds", "Find", "bounds", "check"]

Find: TypeAlias = Callable[[Sequence[DocumentId]], Iterable[int]]
"""Rows of those ids that a segment holds."""


@dataclass(slots=True, eq=False)
class Bounds:
    """The rows that pass a filter lie between two sets.

    Attributes:
        lower: rows that surely pass, all of them in `upper`.
        upper: rows that may pass.
        fields: canonical paths of all fields that the filter asks for. Those within a `Nested`
            are not paths of the document: its own field stands for them.
        unindexed: those that leave rows open for want of a fitting column; as no column can tell
            what a `Nested` asks, its field is always among them.
    """

    lower: Mask
    upper: Mask
    fields: set[str]
    unindexed: set[str]

    @property
    def exact(self) -> bool:
        """Whether nothing is left to be looked up in the documents."""
        return self.lower is self.upper or self.lower.count == self.upper.count


def bounds(
    filter: Filter,
    rows: int,
    kinds: Mapping[str, FieldKind],
    column: Callable[[str], Column | None],
    find: Find,
) -> Bounds:
    """The rows of a segment that pass a filter: surely, and at most.

    What no column tells, `match.matches` has to say for every row between the two.

    Args:
        rows: how many rows the segment has.
        kinds: of the columns that there are, by canonical field path.
        column: the column of a path that is in `kinds`, of `rows` rows; None if there is none.

    Raises:
        InvalidFilter: as `check` does.
    """
    reading = _Reading(rows, kinds, column, find)
    try:
        upper = reading.program(filter)
    except InvalidFilter:
        check(filter)  # which knows the place of what is wrong
        raise
    most = run(upper, rows)
    least = most if reading.exact else run(reading.program(filter, surely=True), rows)
    return Bounds(least, most, reading.fields, reading.unindexed)


@dataclass(slots=True, eq=False)
class _Reading:
    """Makes a program of a filter in one walk, which checks it as well: a search that waits for
    its filter has time for no more.

    Attributes:
        exact: no condition until now leaves rows open.
        fields, unindexed: see `Bounds`.
    """

    rows: int
    kinds: Mapping[str, FieldKind]
    column: Callable[[str], Column | None]
    find: Find
    exact: bool = True
    fields: set[str] = field(default_factory=set)
    unindexed: set[str] = field(default_factory=set)
    _code: list[Program] = field(default_factory=list)
    _found: list[Mask] = field(default_factory=list)

    def program(self, filter: Filter, *, surely: bool = False) -> Program:
        """For the rows that may pass, or those that surely do."""
        self._code = []
        self._filter(filter, surely)
        return b"".join(self._code)

    def _filter(self, filter: Filter, surely: bool) -> None:
        code = self._code
        begin = len(code)
        for condition in filter.must:
            further = len(code) > begin
            self._condition(condition, surely)
            if further:
                code.append(AND)
        if filter.should:
            further = len(code) > begin
            self._any_of(filter.should, surely)
            if further:
                code.append(AND)
        if len(code) == begin:
            code.append(EVERY)
        for condition in filter.must_not:
            # What may match may not be kept.
            self._condition(condition, not surely)
            code.append(WITHOUT)
        if filter.min_should:
            self._at_least(filter.min_should.count, filter.min_should.conditions, surely)
            code.append(AND)

    def _any_of(self, conditions: Sequence[Condition], surely: bool) -> None:
        for number, condition in enumerate(conditions):
            self._condition(condition, surely)
            if number:
                self._code.append(OR)

    def _at_least(self, count: int, conditions: Sequence[Condition], surely: bool) -> None:
        check_count(count)
        code, parts = self._code, []
        for condition in conditions:
            begin = len(code)
            self._condition(condition, surely)
            parts.append(b"".join(code[begin:]))
            del code[begin:]
        code.extend(in_at_least(count, parts))

    def _condition(self, condition: Condition, surely: bool) -> None:
        match condition:
            case Filter():
                self._filter(condition, surely)
                return
            case HasId(ids):
                # Kept, because the program only knows where it is.
                self._found.append(Mask.of(self.find(ids), self.rows))
                self._code.append(of_mask(self._found[-1]))
                return
            case Contains():
                path = TEXT_FIELD
            case _:
                path = canonical(condition.field)
        if test := OPERANDS.get(type(condition)):
            test(condition, "")
        self.fields.add(path)
        kind = self.kinds.get(path)
        column = None if kind is None else self.column(path)
        upper, lower = (EVERY, NONE) if column is None else column.told(condition)
        self._code.append(lower if surely and lower is not None else upper)
        if lower is not None:
            self.exact = False
            if kind is None or not answers(kind, condition):
                self.unindexed.add(path)
