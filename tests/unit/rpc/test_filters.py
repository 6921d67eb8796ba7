"""Filters on their way from a client's words to the gateway's, and what is refused on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate import filters as words
from sparsegate._filters import write_filter
from sparsegate.v1 import common_pb2
from sparsegate.v1 import filter_pb2 as pb
from sparsegate_server import filters as ast
from sparsegate_server.errors import InvalidFilter
from sparsegate_server.rpc.contract import violations
from sparsegate_server.rpc.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    filter_from,
    search_filter,
)

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
NUMBERS = INTEGERS | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.booleans() | NUMBERS | NAMES
IDS = st.integers(0, 2**64 - 1) | NAMES
WORDS = NAMES.filter(str.strip)
DATES = st.datetimes(datetime(1600, 1, 1), datetime(2400, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=timezone(timedelta(hours=-7)))
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bounds(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["gt", "gte", "lt", "lte"])
    return st.dictionaries(names, values, min_size=1)


LEAVES = (
    st.builds(words.Match, NAMES, VALUES)
    | st.builds(words.Match, NAMES, any=st.lists(VALUES, min_size=1, max_size=3))
    | st.builds(words.Except, NAMES, any=st.lists(VALUES, min_size=1, max_size=3))
    | st.builds(words.MatchText, NAMES, WORDS)
    | st.builds(lambda name, limits: words.Range(name, **limits), NAMES, bounds(NUMBERS))
    | st.builds(lambda name, limits: words.DatetimeRange(name, **limits), NAMES, bounds(DATES))
    | st.builds(words.IsNull, NAMES)
    | st.builds(words.IsEmpty, NAMES)
    | st.builds(words.HasId, st.lists(IDS, min_size=1, max_size=3))
    | st.builds(words.Contains, WORDS)
)


def whole(conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[words.Filter]:
    several = st.lists(conditions, max_size=2)
    at_least = st.builds(
        words.MinShould, st.lists(conditions, min_size=1, max_size=2), st.integers(1, 3)
    )
    return st.builds(words.Filter, several, several, several, st.none() | at_least)


FILTERS = whole(
    st.recursive(
        LEAVES,
        lambda inner: whole(inner) | st.builds(words.Nested, NAMES, whole(inner)),
        max_leaves=6,
    )
)


def expected(condition: Any) -> Any:  # noqa: PLR0911, PLR0912
    """The definition: the same filter in the gateway's words."""
    match condition:
        case None:
            return None
        case words.Filter():
            return ast.Filter(
                tuple(map(expected, condition.must)),
                tuple(map(expected, condition.should)),
                tuple(map(expected, condition.must_not)),
                expected(condition.min_should),
            )
        case words.MinShould(conditions, count):
            return ast.MinShould(tuple(map(expected, conditions)), count)
        case words.Match():
            return ast.Match(condition.field, condition.values)
        case words.Except():
            return ast.Except(condition.field, condition.values)
        case words.DatetimeRange():
            limits = {
                name: (getattr(condition, name) - EPOCH) // timedelta(microseconds=1)
                for name in ("gt", "gte", "lt", "lte")
                if getattr(condition, name) is not None
            }
            return ast.TimeRange(condition.field, **limits)
        case words.Range():
            return ast.Range(
                condition.field, condition.gt, condition.gte, condition.lt, condition.lte
            )
        case words.HasId(ids):
            return ast.HasId(tuple(ids))
        case words.Nested(field, filter):
            return ast.Nested(field, expected(filter))
        case words.MatchText(field, text):
            return ast.MatchText(field, text)
        case words.Contains(phrase):
            return ast.Contains(phrase)
        case words.IsNull(field):
            return ast.IsNull(field)
        case words.IsEmpty(field):
            return ast.IsEmpty(field)
    raise AssertionError(condition)


def kinds(value: Any) -> Any:
    """Types beside values, since 1 == 1.0 == True."""
    if isinstance(value, tuple):
        return tuple(map(kinds, value))
    if hasattr(value, "__slots__"):
        return {name: kinds(getattr(value, name)) for name in type(value).__slots__}
    return type(value), value


@given(FILTERS)
def test_a_filter_arrives_as_it_was_meant(filter: words.Filter) -> None:
    message = pb.Filter.FromString(write_filter(filter).SerializeToString())
    assert violations("sparsegate.v1.Filter", message.SerializeToString()) == []
    assert kinds(filter_from(message)) == kinds(expected(filter))


def test_a_single_condition_is_a_filter() -> None:
    assert filter_from(write_filter(words.Match("a", 1))) == ast.Filter(
        must=(ast.Match("a", (1,)),)
    )


def test_numbers_are_exact() -> None:
    message = write_filter(words.Range("n", gte=2**53 + 1))
    (bound,) = filter_from(message).must
    assert isinstance(bound, ast.Range)
    assert bound.gte == 2**53 + 1
    assert isinstance(bound.gte, int)


def deep(depth: int) -> pb.Filter:
    filter = words.Filter(must=[words.IsNull("a")])
    for _ in range(depth - 1):
        filter = words.Filter(must=[words.Nested("a", filter)])
    return write_filter(filter)


REFUSED = {
    "a bad date": (
        words.DatetimeRange("at", gte="2024-13-01"),
        "filter.must[0].datetime_range.gte",
    ),
    "a range without bounds": (words.Range("n"), "filter.must[0].range"),
    "dates without bounds": (words.DatetimeRange("n"), "filter.must[0].datetime_range"),
    "no words": (words.MatchText("t", " \t"), "filter.must[0].match_text.text"),
    "nothing to contain": (words.Contains("  "), "filter.must[0].contains"),
    "inside": (
        words.Filter(
            should=[words.IsNull("a"), words.Nested("b", words.DatetimeRange("at", lt="x"))]
        ),
        "filter.should[1].nested.filter.must[0].datetime_range.lt",
    ),
    "at least": (
        words.Filter(min_should=words.MinShould([words.Contains(" ")], 1)),
        "filter.min_should.conditions[0].contains",
    ),
    "a filter inside": (
        words.Filter(must_not=[words.Filter(must=[words.Range("n")])]),
        "filter.must_not[0].filter.must[0].range",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_clause_is_named(case: str) -> None:
    filter, field = REFUSED[case]
    with pytest.raises(InvalidFilter) as caught:
        filter_from(write_filter(filter))
    assert caught.value.field == field


def test_depth_has_a_limit() -> None:
    filter_from(deep(MAX_DEPTH))
    with pytest.raises(InvalidFilter, match="deep") as caught:
        filter_from(deep(MAX_DEPTH + 1))
    assert caught.value.field.count("nested") == MAX_DEPTH


def test_the_number_of_conditions_has_a_limit_over_all_groups() -> None:
    half = [words.IsNull("a")] * (MAX_CONDITIONS // 2)
    filter_from(write_filter(words.Filter(must=half, must_not=half)))
    with pytest.raises(InvalidFilter, match="256 conditions") as caught:
        filter_from(write_filter(words.Filter(must=half, must_not=[*half, words.IsNull("b")])))
    assert caught.value.field == "filter.must_not[128]"


def test_required_words_join_the_filter() -> None:
    assert search_filter(None, []) is None
    assert search_filter(None, ["AB-12"]) == ast.Filter(must=(ast.Contains("AB-12"),))
    own = write_filter(words.IsNull("a"))
    joined = search_filter(own, ["x", "y"])
    assert joined is not None
    assert joined.must == (filter_from(own), ast.Contains("x"), ast.Contains("y"))
    with pytest.raises(InvalidFilter) as caught:
        search_filter(own, ["x", " "])
    assert caught.value.field == "must_contain[1]"


def test_rules_of_the_contract() -> None:
    broken = pb.Filter(
        must=[
            pb.Condition(),
            pb.Condition(is_null=""),
            pb.Condition(match=pb.Match(field="a")),
            pb.Condition(has_id=common_pb2.DocumentIds()),
            pb.Condition(range=pb.NumberRange(field="a", gt=pb.NumberBound())),
            pb.Condition(nested=pb.Nested(field="a")),
        ],
        min_should=pb.MinShould(),
    )
    fields = {field for field, _ in violations("sparsegate.v1.Filter", broken.SerializeToString())}
    assert fields == {
        "must[0].condition",
        "must[1].is_null",
        "must[2].match.values",
        "must[3].has_id.ids",
        "must[4].range.gt.bound",
        "must[5].nested.filter",
        "min_should.conditions",
        "min_should.count",
    }
