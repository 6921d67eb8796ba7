"""Payloads and filters that hypothesis draws: few fields, values that are easily confused."""

from __future__ import annotations

import math
from typing import TypeVar

from hypothesis import strategies as st

from sparsegate_server.filters import (
    TEXT_FIELD,
    Condition,
    Contains,
    Except,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    Match,
    MatchText,
    MinShould,
    Nested,
    Range,
    TimeRange,
)

INTEGERS = [0, 1, 5, -3, 2**53, 2**53 + 1, 2**53 - 1, 2**63 - 1, 2**63 - 513, -(2**63)]
FLOATS = [0.0, -0.0, 5.0, 5.5, 2.0**53, 2.0**63, -(2.0**63), math.inf, -math.inf, 1e300]
DATES = [
    "2024-01-01",
    "2024-01-01T01:00:00+01:00",
    "2024-01-01T00:00:00.000001Z",
    "1969-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-01:00",
]
STRINGS = ["", "--", "5", "True", "red", "Red", "red fox", "Fox, red!", "AB-12 é", "a\0b"]
PHRASES = ["red", "FOX", "red fox", "fox red", "ab-12", "12 É", "x", "2024", "b"]
TIMES = [0, -1, 1704067200000000, 1704067200000001, 2**70, -(2**70)]
FIELDS = ["a", "a[]", "a[0]", "a.b", "a[].b", "a[].b[].c", "b", "b[][]", "c.a", TEXT_FIELD]
IDS = [0, 1, 5, "0", "5", 2**64 - 1]

_T = TypeVar("_T")


def few(strategy: st.SearchStrategy[_T], key: str) -> st.SearchStrategy[_T]:
    """Draws from a handful within one example, so that what is asked for is often there."""
    pool = st.shared(st.lists(strategy, min_size=1, max_size=3), key=key)
    return pool.flatmap(st.sampled_from)


numbers = few(st.sampled_from([*INTEGERS, *FLOATS]), "numbers")
strings = few(st.sampled_from(STRINGS), "strings") | few(st.sampled_from(DATES), "dates")
match_values = st.one_of(st.booleans(), numbers, strings)
scalars = st.one_of(st.none(), match_values, st.just(math.nan))
names = st.sampled_from("abc")
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
payloads = st.dictionaries(names, values, max_size=3)
texts = st.none() | strings
fields = few(st.sampled_from(FIELDS), "fields")
phrases = few(st.sampled_from(PHRASES), "phrases")
several = st.lists(match_values, max_size=3).map(tuple)
# No limit, one or two, beyond the 64 bits of a payload's integers too.
limits = st.none() | numbers | st.sampled_from([2**64 + 1, -(10**400), 10**400])
times = st.none() | few(st.sampled_from(TIMES), "times")


@st.composite
def on_field(draw: st.DrawFn, field: st.SearchStrategy[str]) -> Condition:
    """A condition that a column can tell something about."""
    kinds: list[st.SearchStrategy[Condition]] = [
        st.builds(Match, field, several),
        st.builds(Except, field, several),
        st.builds(MatchText, field, phrases),
        st.builds(Range, field, gt=limits, gte=limits, lt=limits, lte=limits),
        st.builds(TimeRange, field, gt=times, gte=times, lt=times, lte=times),
        st.builds(IsNull, field),
        st.builds(IsEmpty, field),
    ]
    return draw(st.one_of(kinds))


def filters_of(conditions: st.SearchStrategy[Condition]) -> st.SearchStrategy[Filter]:
    some = st.lists(conditions, max_size=2).map(tuple)
    enough = st.builds(MinShould, st.lists(conditions, max_size=4).map(tuple), st.integers(1, 3))
    return st.builds(Filter, must=some, should=some, must_not=some, min_should=st.none() | enough)


inner_fields = few(st.sampled_from([each for each in FIELDS if each != TEXT_FIELD]), "inner")
leaves = st.one_of(
    on_field(fields),
    st.builds(HasId, st.lists(st.sampled_from(IDS), max_size=3).map(tuple)),
    st.builds(Contains, phrases),
    st.builds(Nested, inner_fields, filters_of(on_field(inner_fields))),
)
filters = filters_of(st.recursive(leaves, filters_of, max_leaves=4))
