from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from sparsegate_server.errors import InvalidFilter
from sparsegate_server.filters import (
    Condition,
    Contains,
    Except,
    FieldKind,
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
from sparsegate_server.index.filter import Bounds, bounds, check

GOOD = Filter(
    must=(Match("a.b[].c", ("x", 5, 5.0, True)), Filter(should=(Contains("AB-12"),))),
    should=(Range("n", gt=-math.inf, lte=2**63 - 1), TimeRange('"t.t"', gte=0)),
    must_not=(HasId((5, "5")), IsNull("a[0]"), IsEmpty("$text")),
    min_should=MinShould((Nested("cast[]", Filter(must=(MatchText("name", "x"),))),), 1),
)


def test_a_good_filter_passes() -> None:
    check(GOOD)
    check(Filter())


@pytest.mark.parametrize(
    ("condition", "below"),
    [
        (Match("a..b", ("x",)), ".field"),
        (Match("f", ("x", math.nan)), ".values[1]"),
        (Except("f", (math.nan,)), ".values[0]"),
        (Range("f", gt=1, lte=math.nan), ".lte"),
        (MatchText("f", "--"), ".text"),
        (Contains(" + "), ".phrase"),
        (IsNull(""), ".field"),
        (IsEmpty("$text.x"), ".field"),
        (TimeRange("[]"), ".field"),
        (Nested("f]", Filter()), ".field"),
        (Nested("f", Filter(must=(HasId((5,)),))), ".filter.must[0]"),
        (Nested("f", Filter(must=(Contains("x"),))), ".filter.must[0]"),
        (Nested("f", Filter(should=(MatchText("$text", "x"),))), ".filter.should[0].field"),
        (
            Nested("f", Filter(must=(Filter(must_not=(HasId(()),)),))),
            ".filter.must[0].must_not[0]",
        ),
        (Filter(must=(YES := IsNull("f"), Match("", ()))), ".must[1].field"),
        (Filter(min_should=MinShould((YES,), 0)), ".min_should.count"),
        (Filter(min_should=MinShould((Contains(""),), 1)), ".min_should.conditions[0].phrase"),
    ],
)
def test_the_error_names_the_clause(condition: Condition, below: str) -> None:
    good = IsNull("good")
    for filter, place in [
        (Filter(must=(good, condition)), "must[1]"),
        (Filter(must_not=(condition,)), "must_not[0]"),
        (Filter(must=(good,), should=(good, good, condition)), "should[2]"),
        (Filter(min_should=MinShould((condition,), 1)), "min_should.conditions[0]"),
    ]:
        with pytest.raises(InvalidFilter) as caught:
            check(filter)
        assert caught.value.field == place + below
        with pytest.raises(InvalidFilter) as found:
            asked(filter, {})
        assert (found.value.field, found.value.message) == (place + below, caught.value.message)


def asked(filter: Filter, kinds: Mapping[str, FieldKind]) -> Bounds:
    """What is found out of a filter without a row."""
    return bounds(filter, 0, kinds, lambda _: None, lambda _: ())


def test_the_fields_of_a_filter() -> None:
    assert asked(GOOD, {}).fields == {"a.b[].c", "n", '"t.t"', "a[0]", "$text", "cast"}
    assert asked(Filter(must=(Match("tags[]", ()), HasId(()))), {}).fields == {"tags"}


def test_the_fields_without_an_index() -> None:
    some = {"n": FieldKind.NUMBER, "$text": FieldKind.TEXT, "a[0]": FieldKind.KEYWORD}
    assert asked(GOOD, some).unindexed == {'"t.t"', "a.b[].c", "cast"}
    assert asked(Filter(must=(HasId((5,)),)), {}).unindexed == set()
    assert asked(Filter(), {}).unindexed == set()


@pytest.mark.parametrize(
    ("condition", "answering"),
    [
        (Match("f", ("x", "y")), {FieldKind.KEYWORD}),
        (Match("f", (1, 2.5)), {FieldKind.NUMBER}),
        (Match("f", (True,)), {FieldKind.BOOL}),
        (Match("f", ("x", 1)), set()),
        (Except("f", ("x",)), {FieldKind.KEYWORD}),
        (MatchText("f", "x"), {FieldKind.TEXT}),
        (Range("f", gt=1), {FieldKind.NUMBER}),
        (TimeRange("f", gt=1), {FieldKind.DATETIME}),
        (IsNull("f"), set(FieldKind)),
        (IsEmpty("f"), set(FieldKind)),
        (Nested("f", Filter()), set()),
    ],
)
def test_an_index_of_another_kind_is_none(condition: Condition, answering: set[FieldKind]) -> None:
    within = Filter(must=(Filter(should=(condition,)),))
    for kind in FieldKind:
        assert asked(within, {"f": kind}).unindexed == (set() if kind in answering else {"f"})
