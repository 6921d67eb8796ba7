from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegate_server.filters import Except, FieldKind, Match, Range, TimeRange
from sparsegate_server.index import kernels
from sparsegate_server.index.filter import Column
from sparsegate_server.index.filter.points import Points, number_point, time_point
from sparsegate_server.index.filter.program import run

from .strategies import FLOATS, INTEGERS
from .test_column import bounds_of

kernels.warm_up()

numbers = st.sampled_from([*INTEGERS, *FLOATS])


def of_numbers(pairs: list[tuple[int | float, int]], size: int) -> Points:
    points = [number_point(number) for number, _ in pairs]
    parts = [
        np.array([value for value, _ in points], np.float64),
        np.array([rest for _, rest in points], np.int16),
    ]
    return Points.of(parts, np.array([row for _, row in pairs], np.uint32), size)


@settings(deadline=None)
@given(
    st.integers(1, 130).flatmap(
        lambda size: st.tuples(
            st.just(size), st.lists(st.tuples(numbers, st.integers(0, size - 1)), max_size=40)
        )
    ),
    *[st.none() | numbers | st.sampled_from([10**400, -(10**400)])] * 4,
    st.lists(numbers, max_size=3),
)
def test_ranges_and_values_of_numbers(
    drawn: tuple[int, list[tuple[int | float, int]]],
    gt: int | float | None,
    gte: int | float | None,
    lt: int | float | None,
    lte: int | float | None,
    wanted: list[int | float],
) -> None:
    size, pairs = drawn
    points = of_numbers(pairs, size)
    within = points.within(Range("f", gt, gte, lt, lte), number_point)
    assert set(run(within, size)) == {
        row
        for number, row in pairs
        if (gt is None or number > gt)
        and (gte is None or number >= gte)
        and (lt is None or number < lt)
        and (lte is None or number <= lte)
    }
    asked = [number_point(each) for each in wanted]
    assert set(run(points.with_any(asked), size)) == {
        row for number, row in pairs if number in wanted
    }
    assert set(run(points.with_others(asked), size)) == {
        row for number, row in pairs if number not in wanted
    }


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.integers(-4, 4), st.booleans())
def test_ranges_of_times(times: list[int], bound: int, open_: bool) -> None:
    rows = np.arange(len(times), dtype=np.uint32)
    points = Points.of([np.array(times, np.int64)], rows, len(times))
    above = TimeRange("f", gt=bound) if open_ else TimeRange("f", gte=bound)
    below = TimeRange("f", lt=bound) if open_ else TimeRange("f", lte=bound)
    for limits, holds in [
        (above, [time > bound or (time == bound and not open_) for time in times]),
        (below, [time < bound or (time == bound and not open_) for time in times]),
    ]:
        found = run(points.within(limits, time_point), len(times))
        assert set(found) == set(np.flatnonzero(holds).tolist())


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 700),
    st.integers(0, 2_000),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 2_000)), min_size=1, max_size=8),
)
def test_rows_are_found_by_bucket_and_one_by_one(
    seed: int, size: int, points: int, spans: list[tuple[int, int]]
) -> None:
    rows = np.random.default_rng(seed).integers(0, size, points).astype(np.uint32)
    times = Points.of([np.arange(points)], rows, size)
    for start, stop in spans:
        low, high = sorted((start, stop))
        found = run(times.within(TimeRange("f", gte=low, lt=high), time_point), size)
        assert set(found) == set(rows[low:high].tolist())


def test_many_rows_with_several_values_each() -> None:
    random = np.random.default_rng(5)
    held = [
        [round(value, 1) for value in random.normal(0, 9, random.integers(0, 4)).tolist()]
        for _ in range(3_000)
    ]
    column = Column.build(FieldKind.NUMBER, held)
    for low, high in [(-100.0, 100.0), (-3.0, 3.0), (0.0, 0.2), (5.0, 30.0), (40.0, 50.0)]:
        bounds = bounds_of(column, Range("f", gte=low, lt=high))
        assert bounds.exact
        assert set(bounds.upper) == {
            row for row, values in enumerate(held) if any(low <= each < high for each in values)
        }
    for barred in [(0.0,), (0.0, 0.1, -0.1), (), (math.pi,)]:
        assert set(bounds_of(column, Except("f", barred)).upper) == {
            row for row, values in enumerate(held) if any(each not in barred for each in values)
        }
        assert set(bounds_of(column, Match("f", barred)).upper) == {
            row for row, values in enumerate(held) if any(each in barred for each in values)
        }


@pytest.mark.parametrize("kind", [FieldKind.NUMBER, FieldKind.BOOL])
def test_rows_beyond_the_last_are_refused(kind: FieldKind) -> None:
    stored = Column.build(kind, [[True], [1], [False], [2], [True, 3]]).arrays()
    stored["rows"] = stored["rows"] | np.uint32(64)
    damaged = Column.from_arrays(kind, 5, stored)
    one = (True,) if kind is FieldKind.BOOL else (1,)
    for condition in (Match("f", one), Except("f", one)):
        with pytest.raises(ValueError, match="beyond its 5 rows"):
            bounds_of(damaged, condition)
    if kind is FieldKind.NUMBER:
        with pytest.raises(ValueError, match="beyond its 5 rows"):
            bounds_of(damaged, Range("f", gt=0))
