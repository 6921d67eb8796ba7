from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsegate_server.filters import (
    TEXT_FIELD,
    Condition,
    Contains,
    Except,
    FieldKind,
    Filter,
    IsEmpty,
    IsNull,
    Match,
    MatchText,
    Nested,
    Range,
    TimeRange,
)
from sparsegate_server.index.filter import Bounds, Column, matches
from sparsegate_server.index.filter.column import FieldCondition
from sparsegate_server.index.filter.program import run
from sparsegate_server.index.filter.terms import HEAVY
from sparsegate_server.types import PayloadValue

from .strategies import PHRASES, on_field, scalars

Rows = list[list[PayloadValue]]

kinds = st.sampled_from(list(FieldKind))
elements = scalars | st.just([]) | st.just({"a": "red"})
rows_of_values = st.lists(st.lists(elements, max_size=3), max_size=8)
conditions = on_field(st.just("f")) | st.builds(
    Nested, st.just("f"), st.just(Filter(must=(Match("a", ("red",)),)))
)
COVERED: dict[FieldKind, tuple[type, ...]] = {
    FieldKind.KEYWORD: (str,),
    FieldKind.BOOL: (bool,),
    FieldKind.NUMBER: (int, float),
}
EXACT: dict[type, FieldKind] = {
    Range: FieldKind.NUMBER,
    TimeRange: FieldKind.DATETIME,
    MatchText: FieldKind.TEXT,
}


def fits(condition: Condition, kind: FieldKind) -> bool:
    """Whether a column of that kind must answer a condition without a rest."""
    match condition:
        case Match(values=values) | Except(values=values):
            return kind in COVERED and all(type(each) in COVERED[kind] for each in values)
        case IsNull() | IsEmpty():
            return True
        case Contains(phrase):
            return kind is FieldKind.TEXT and phrase.isalnum()
        case _:
            return EXACT.get(type(condition)) is kind


def bounds_of(column: Column, condition: FieldCondition) -> Bounds:
    upper, lower = column.told(condition)
    most = run(upper, column.rows)
    return Bounds(most if lower is None else run(lower, column.rows), most, set(), set())


def truth(condition: Condition, rows: Rows) -> set[int]:
    return {row for row, held in enumerate(rows) if matches(condition, 0, None, {"f": [*held]})}


def same(left: dict[str, NDArray[Any]], right: dict[str, NDArray[Any]]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and left[name].tobytes() == right[name].tobytes()
        for name in left
    )


@settings(deadline=None)
@given(kinds, rows_of_values, st.lists(conditions, min_size=1, max_size=5))
def test_bounds_hold_the_truth_and_are_exact_where_the_kind_fits(
    kind: FieldKind, rows: Rows, asked: list[FieldCondition]
) -> None:
    column = Column.build(kind, rows)
    for condition in asked:
        bounds = bounds_of(column, condition)
        expected = truth(condition, rows)
        assert set(bounds.lower) <= expected <= set(bounds.upper) <= set(range(len(rows)))
        assert bounds.exact or not fits(condition, kind)


@settings(deadline=None)
@given(st.lists(st.text("redfox AB-12é.", max_size=12) | st.none(), max_size=6))
def test_the_text_column_narrows_phrases(texts: list[str | None]) -> None:
    for kind in FieldKind:
        column = Column.build(kind, ([] if text is None else [text] for text in texts))
        for phrase in PHRASES:
            condition = Contains(phrase)
            bounds = bounds_of(column, condition)
            expected = {n for n, text in enumerate(texts) if matches(condition, 0, text, {})}
            assert set(bounds.lower) <= expected <= set(bounds.upper)
            assert bounds.exact or not fits(condition, kind)


@settings(deadline=None)
@given(kinds, rows_of_values)
def test_arrays_come_back(kind: FieldKind, rows: Rows) -> None:
    stored = Column.build(kind, rows).arrays()
    frozen = {name: array.copy() for name, array in stored.items()}
    for array in frozen.values():
        assert array.ndim == 1
        array.setflags(write=False)
    opened = Column.from_arrays(kind, len(rows), frozen)
    assert same(opened.arrays(), stored)
    assert all(
        np.shares_memory(array, frozen[name])
        for name, array in opened.values.arrays().items()
        if len(array)
    )


@settings(deadline=None)
@given(st.data(), kinds, st.lists(rows_of_values, min_size=1, max_size=4))
def test_a_merged_column_is_the_column_of_the_merged_rows(
    data: st.DataObject, kind: FieldKind, parts: list[Rows]
) -> None:
    places = [(part, row) for part, rows in enumerate(parts) for row in range(len(rows))]
    kept = data.draw(st.permutations([each for each in places if data.draw(st.booleans())]))
    destinations = [np.full(len(rows), -1, np.int64) for rows in parts]
    for new, (part, row) in enumerate(kept):
        destinations[part][row] = new
    merged = Column.merged([Column.build(kind, rows) for rows in parts], destinations, len(kept))
    built = Column.build(kind, [parts[part][row] for part, row in kept])
    assert merged.rows == built.rows
    assert same(merged.arrays(), built.arrays())


def test_heavy_values_have_a_bitmap() -> None:
    rows: Rows = [["heavy", f"of{row % 3}"] if row % 2 else ["light"] for row in range(2 * HEAVY)]
    rows.extend([["light", "rare"], [5]])
    column = Column.build(FieldKind.KEYWORD, rows)
    # Light has one row more than heavy, and rare values have none.
    assert len(column.arrays()["heavy"]) == 2
    wordy = Column.build(FieldKind.TEXT, rows)
    asked: list[FieldCondition] = [
        Match("f", ("heavy",)),
        Match("f", ("light",)),
        Match("f", ("heavy", "rare", "of1", "absent")),
        Except("f", ("light",)),
        Except("f", ("heavy", "of0", "of1", "of2")),
    ]
    for condition in asked:
        assert set(bounds_of(column, condition).upper) >= truth(condition, rows)
        assert set(bounds_of(column, condition).lower) == truth(condition, rows)
    for both in (MatchText("f", "heavy of1"), MatchText("f", "light"), MatchText("f", "heavy no")):
        assert set(bounds_of(wordy, both).lower) == truth(both, rows)

    shuffled = np.random.default_rng(3).permutation(len(rows))
    half = len(rows) // 2
    parts = [
        Column.build(FieldKind.KEYWORD, rows[:half]),
        Column.build(FieldKind.KEYWORD, rows[half:]),
    ]
    merged = Column.merged(parts, [shuffled[:half], shuffled[half:]], len(rows))
    back = np.argsort(shuffled)
    assert same(
        merged.arrays(), Column.build(FieldKind.KEYWORD, [rows[row] for row in back]).arrays()
    )


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (Match("f", (2.0**53,)), {0, 2}),
        (Match("f", (10**400, -(10**400))), set()),
        (Range("f", gte=10**400), {5}),
        (Range("f", lte=-(10**400)), {6}),
        (Range("f", gt=-(10**400), lt=2**54), {0, 1, 2}),
        (Match("f", (2**53 + 1,)), {1}),
        (Range("f", gt=2.0**53), {1, 3, 4, 5}),
        (Range("f", gte=2.0**63), {4, 5}),
        (Range("f", gt=2**53 + 1, lte=2**63 - 1), {3}),
        (Range("f", gt=0, lt=2**64), {0, 1, 2, 3, 4}),
        (Except("f", (2**53, 2**63 - 1, math.inf)), {1, 4, 6}),
    ],
)
def test_integers_and_floats_share_one_order(condition: FieldCondition, rows: set[int]) -> None:
    values = [2**53, 2**53 + 1, 2.0**53, 2**63 - 1, 2.0**63, math.inf, -math.inf]
    column = Column.build(FieldKind.NUMBER, ([value] for value in values))
    assert bounds_of(column, condition).exact
    assert set(bounds_of(column, condition).upper) == rows


@pytest.mark.parametrize("distinct", [2, 5, 20, 256, 257, 700])
def test_few_values_and_many(distinct: int) -> None:
    names = [f"v{number}é" for number in range(distinct)]
    random = np.random.default_rng(distinct)
    # Low numbers come more often, so that some values have a bitmap and others have not.
    drawn = (distinct * random.random((4_000, 2)) ** 3).astype(int).tolist()
    rows: Rows = [[names[first], names[second]] for first, second in drawn]
    column = Column.build(FieldKind.KEYWORD, rows)
    for wanted in [names[:1], names[1:2], names[-1:], names[:3], [*names[:2], "absent"], []]:
        for condition in (Match("f", tuple(wanted)), Except("f", tuple(wanted))):
            for _ in range(2):  # what the first search has found out serves the second
                bounds = bounds_of(column, condition)
                assert bounds.exact
                assert set(bounds.lower) == truth(condition, rows)


KEYWORD, TEXT, DATETIME = FieldKind.KEYWORD, FieldKind.TEXT, FieldKind.DATETIME
MIXED: Rows = [["a"], [5], ["b"], [6, None], [None], [True], [{"a": 5}]]
DATED: Rows = [["2024-01-01"], ["2024-01-01T00:00:00Z"], ["x"], ["2024-01-02"], [5], [None]]
WORDED: Rows = [["fox red"], ["Red fox"], ["red"], ["--"], [5], []]


@pytest.mark.parametrize(
    ("kind", "rows", "condition", "lower", "upper"),
    [
        (KEYWORD, MIXED, Match("f", (5,)), set(), {1, 3, 5, 6}),
        (KEYWORD, MIXED, Match("f", ("a", 5)), {0}, {0, 1, 3, 5, 6}),
        (KEYWORD, MIXED, Except("f", ("a",)), {1, 2, 3, 5, 6}, {1, 2, 3, 5, 6}),
        (KEYWORD, MIXED, Except("f", ("a", 5)), {2}, {1, 2, 3, 5, 6}),
        (KEYWORD, MIXED, Range("f", gt=5), set(), {1, 3, 5, 6}),
        (KEYWORD, MIXED, Nested("f", Filter()), set(), {1, 3, 5, 6}),
        (KEYWORD, MIXED, MatchText("f", "a"), set(), {0, 1, 2, 3, 5, 6}),
        (KEYWORD, DATED, TimeRange("f", lt=0), set(), {0, 1, 2, 3, 4}),
        (FieldKind.NUMBER, DATED, TimeRange("f"), set(), {0, 1, 2, 3}),
        (FieldKind.BOOL, MIXED, Match("f", (True,)), {5}, {5}),
        (FieldKind.BOOL, MIXED, Match("f", (1, False)), set(), {0, 1, 2, 3, 6}),
        (DATETIME, DATED, Match("f", ("2024-01-01",)), set(), {0, 1}),
        (DATETIME, DATED, Match("f", ("2024-01-02", "y")), set(), {2, 3, 4}),
        (DATETIME, DATED, Except("f", ("2024-01-01",)), {2, 4}, {0, 1, 2, 3, 4}),
        (DATETIME, DATED, Except("f", ("x",)), {0, 1, 3}, {0, 1, 2, 3, 4}),
        (DATETIME, DATED, Except("f", ("x", "2024-01-01")), set(), {0, 1, 2, 3, 4}),
        (DATETIME, DATED, MatchText("f", "2024"), set(), {0, 1, 2, 3, 4}),
        (TEXT, WORDED, Match("f", ("red fox",)), set(), {0, 1}),
        (TEXT, WORDED, Match("f", ("--", 5)), set(), {0, 1, 2, 3, 4}),
        (TEXT, WORDED, Except("f", ("red",)), {4}, {0, 1, 2, 3, 4}),
        (TEXT, WORDED, Except("f", (5,)), {0, 1, 2, 3}, {0, 1, 2, 3, 4}),
        (TEXT, WORDED, MatchText("f", "RED"), {0, 1, 2}, {0, 1, 2}),
        (TEXT, WORDED, Contains("red fox"), set(), {0, 1}),
        (TEXT, WORDED, Contains(" FOX "), {0, 1}, {0, 1}),
        (TEXT, WORDED, Range("f", gt=1), set(), {4}),
    ],
)
def test_a_kind_that_does_not_fit_leaves_the_right_rows_open(
    kind: FieldKind, rows: Rows, condition: FieldCondition, lower: set[int], upper: set[int]
) -> None:
    bounds = bounds_of(Column.build(kind, rows), condition)
    assert (set(bounds.lower), set(bounds.upper)) == (lower, upper)


def test_a_value_is_stored_once_a_row() -> None:
    numbers = Column.build(FieldKind.NUMBER, [[5, 5.0, 0.0, -0.0], [5]]).arrays()
    assert numbers["part0"].tolist() == [0.0, 5.0, 5.0]
    assert numbers["rows"].tolist() == [0, 0, 1]
    words = Column.build(FieldKind.TEXT, [["Red red", "RED"], ["red"]]).arrays()
    assert words["rows"].tolist() == [0, 1]


def test_columns_of_two_kinds_do_not_merge() -> None:
    columns = [Column.build(kind, [[]]) for kind in (FieldKind.BOOL, FieldKind.TEXT)]
    with pytest.raises(ValueError, match="one kind"):
        Column.merged(columns, [np.array([0]), np.array([1])], 2)


@pytest.mark.parametrize(
    ("kind", "name", "damaged", "reason"),
    [
        (FieldKind.KEYWORD, "null", None, "null is missing"),
        (FieldKind.KEYWORD, "null", np.empty(0, np.uint8), "bitmap"),
        (FieldKind.KEYWORD, "other", np.zeros(9, np.uint8), "bitmap"),
        (FieldKind.KEYWORD, "rows", np.zeros(3, np.int64), "rows is int64"),
        (FieldKind.KEYWORD, "rows", np.zeros(2, np.uint32), "starts does not rise"),
        (FieldKind.KEYWORD, "rows", np.zeros((3, 1), np.uint32), "rows is uint32"),
        (FieldKind.KEYWORD, "starts", np.array([0, 3]), "starts has 2"),
        (FieldKind.KEYWORD, "starts", np.array([0, 4, 3]), "starts does not rise"),
        (FieldKind.KEYWORD, "terms", np.zeros(1, np.uint8), "term_offsets does not rise"),
        (FieldKind.KEYWORD, "term_offsets", np.empty(0, np.int64), "term_offsets does not rise"),
        (FieldKind.KEYWORD, "heavy", np.array([0]), "bitmap_offsets has 1"),
        (FieldKind.KEYWORD, "bitmaps", np.zeros(1, np.uint8), "bitmap_offsets does not rise"),
        (FieldKind.NUMBER, "part1", None, "part1 is missing"),
        (FieldKind.NUMBER, "part0", np.zeros(1, np.float64), "part0 has 1"),
        (FieldKind.DATETIME, "part0", np.zeros(0, np.float64), "part0 is float64"),
    ],
)
def test_damaged_arrays_are_refused(
    kind: FieldKind, name: str, damaged: NDArray[Any] | None, reason: str
) -> None:
    arrays = Column.build(kind, [["a", 1], ["b", 2], ["a", 3]]).arrays()
    if damaged is None:
        del arrays[name]
    else:
        arrays[name] = damaged
    with pytest.raises(ValueError, match=reason):
        Column.from_arrays(kind, 3, arrays)


@pytest.mark.parametrize("heavy", [[2], [-1], [0, 0], [1, 0]])
def test_bitmaps_must_belong_to_terms(heavy: list[int]) -> None:
    arrays = Column.build(FieldKind.KEYWORD, [["a"], ["b"]]).arrays()
    arrays["heavy"] = np.array(heavy)
    arrays["bitmap_offsets"] = np.zeros(len(heavy) + 1, np.int64)
    with pytest.raises(ValueError, match="heavy does not name some of 2 terms"):
        Column.from_arrays(FieldKind.KEYWORD, 2, arrays)


def test_a_bitmap_must_not_reach_beyond_the_rows() -> None:
    arrays = Column.build(FieldKind.BOOL, [[True], [None]]).arrays()
    with pytest.raises(ValueError, match="row 1 of 1 rows"):
        Column.from_arrays(FieldKind.BOOL, 1, arrays)


def test_the_text_itself_is_a_field() -> None:
    column = Column.build(FieldKind.TEXT, [["A red fox"], [], ["--"]])
    assert set(bounds_of(column, MatchText(TEXT_FIELD, "FOX red")).lower) == {0}
    assert set(bounds_of(column, IsEmpty(TEXT_FIELD)).lower) == {1}
