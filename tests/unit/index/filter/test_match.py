from __future__ import annotations

import math

import pytest

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
    MatchValue,
    MinShould,
    Nested,
    Range,
    TimeRange,
    parse_time,
)
from sparsegate_server.index.filter.match import dropped_by, matches
from sparsegate_server.types import Payload, PayloadValue

BIG = 2**63 - 1


def holds(condition: Condition, payload: Payload) -> bool:
    return matches(condition, 5, None, payload)


@pytest.mark.parametrize(
    ("value", "wanted", "equal"),
    [
        (5, 5, True),
        (5, 5.0, True),
        (5.0, 5, True),
        (5, "5", False),
        ("5", 5, False),
        (1, True, False),
        (True, 1, False),
        (0.0, False, False),
        (True, True, True),
        (False, True, False),
        (0.0, -0.0, True),
        (2**53 + 1, 2.0**53, False),
        (2**53, 2.0**53, True),
        (BIG, 2.0**63, False),
        (BIG, BIG, True),
        (-(2**63), -(2.0**63), True),
        (math.nan, 0.0, False),
        ("é", "é", True),
        ("é", "e\u0301", False),
        ("A", "a", False),
        (None, "None", False),
        ([["a"]], "a", False),
        ({"a": "a"}, "a", False),
        ([], "a", False),
        (["a", 5, None], 5.0, True),
        (["a", 5, None], "b", False),
    ],
)
def test_match(value: PayloadValue, wanted: MatchValue, equal: bool) -> None:
    assert holds(Match("f", (wanted,)), {"f": value}) is equal
    assert holds(Match("f", ("never", wanted)), {"f": value}) is equal
    assert not holds(Match("g", (wanted,)), {"f": value})


@pytest.mark.parametrize(
    ("value", "barred", "passes"),
    [
        ("a", ("a",), False),
        ("a", ("b",), True),
        ("a", (), True),
        (None, ("a",), False),
        ([], ("a",), False),
        (["a", None], ("a",), False),
        (["a", "b"], ("a",), True),
        (5.0, (5,), False),
        ("5", (5,), True),
        (True, (1,), True),
        (2**53 + 1, (2.0**53,), True),
        (math.nan, (1,), True),
        ({}, ("a",), True),
        ([[]], ("a",), True),
    ],
)
def test_except(value: PayloadValue, barred: tuple[MatchValue, ...], passes: bool) -> None:
    assert holds(Except("f", barred), {"f": value}) is passes
    assert not holds(Except("g", barred), {"f": value})


@pytest.mark.parametrize(
    ("value", "condition", "within"),
    [
        (5, Range("f"), True),
        (5, Range("f", gt=5), False),
        (5, Range("f", gte=5.0, lte=5), True),
        (5, Range("f", lt=5), False),
        (5.5, Range("f", gt=5, lt=6), True),
        (True, Range("f", gte=0), False),
        ("5", Range("f", gte=0), False),
        (None, Range("f"), False),
        (math.nan, Range("f"), False),
        (math.inf, Range("f", gt=BIG), True),
        (-math.inf, Range("f", lt=-(2**63)), True),
        (2**53 + 1, Range("f", gt=2.0**53), True),
        (2**53, Range("f", gt=2.0**53), False),
        (2.0**53, Range("f", lt=2**53 + 1), True),
        (BIG, Range("f", lt=2.0**63), True),
        (2.0**63, Range("f", gt=BIG), True),
        (2.0**63, Range("f", lte=BIG), False),
        ([1, 9], Range("f", gt=3, lt=7), False),
        ([1, 5, 9], Range("f", gt=3, lt=7), True),
    ],
)
def test_range(value: PayloadValue, condition: Range, within: bool) -> None:
    assert holds(condition, {"f": value}) is within


@pytest.mark.parametrize(
    ("value", "gte", "lt", "within"),
    [
        ("2024-02-29T12:00:00Z", "2024-02-29", "2024-03-01", True),
        ("2024-02-29T23:30:00-01:00", "2024-03-01", "2024-03-02", True),
        ("2024-03-01T00:30:00+01:00", "2024-03-01", "2024-03-02", False),
        ("2024-03-01T00:00:00.000001Z", "2024-03-01T00:00:00.000001Z", None, True),
        ("2024-03-01T00:00:00.0000009Z", "2024-03-01T00:00:00.000001Z", None, False),
        ("1969-12-31T23:59:59.5Z", None, "1970-01-01", True),
        ("2023-02-29", None, None, False),
        ("yesterday", None, None, False),
        (1709208000, None, None, False),
        (["yesterday", "2024-03-01"], "2024-01-01", None, True),
        (None, None, None, False),
    ],
)
def test_time_range(value: PayloadValue, gte: str | None, lt: str | None, within: bool) -> None:
    condition = TimeRange("f", gte=gte and parse_time(gte), lt=lt and parse_time(lt))
    assert holds(condition, {"f": value}) is within


@pytest.mark.parametrize(
    ("payload", "null", "empty"),
    [
        ({}, False, True),
        ({"f": None}, True, True),
        ({"f": []}, False, True),
        ({"f": [None]}, True, True),
        ({"f": ["a", None]}, True, False),
        ({"f": [[]]}, False, False),
        ({"f": [[None]]}, False, False),
        ({"f": {}}, False, False),
        ({"f": ""}, False, False),
        ({"f": 0}, False, False),
        ({"f": False}, False, False),
    ],
)
def test_is_null_and_is_empty(payload: Payload, null: bool, empty: bool) -> None:
    assert holds(IsNull("f"), payload) is null
    assert holds(IsEmpty("f"), payload) is empty


@pytest.mark.parametrize(
    ("value", "text", "found"),
    [
        ("The Quick Fox", "fox QUICK", True),
        ("The Quick Fox", "fox dog", False),
        (["red", "Fox"], "red fox", True),
        (["red", 5, None], "5", False),
        ("Straße", "STRASSE", True),
        ("foxes", "fox", False),
        (None, "none", False),
    ],
)
def test_match_text(value: PayloadValue, text: str, found: bool) -> None:
    assert holds(MatchText("f", text), {"f": value}) is found


def test_the_documents_own_text() -> None:
    payload: Payload = {"$text": "payload"}
    assert matches(MatchText(TEXT_FIELD, "fox"), 5, "A fox", payload)
    assert not matches(MatchText(TEXT_FIELD, "payload"), 5, "A fox", payload)
    assert matches(MatchText('"$text"', "payload"), 5, "A fox", payload)
    assert matches(Contains("a FOX"), 5, "A fox", payload)
    assert not matches(Contains("a fo"), 5, "A fox", payload)
    assert not matches(Contains("payload"), 5, None, payload)
    assert matches(IsEmpty(TEXT_FIELD), 5, None, payload)
    assert not matches(IsEmpty(TEXT_FIELD), 5, "", payload)


def test_has_id() -> None:
    assert matches(HasId((4, 5)), 5, None, {})
    assert not matches(HasId(("5",)), 5, None, {})
    assert not matches(HasId((5,)), "5", None, {})
    assert not matches(HasId(()), 5, None, {})


def test_nested_looks_at_one_element_at_a_time() -> None:
    payload: Payload = {
        "cast": [{"name": "Ada", "year": 1990}, {"name": "Bo", "year": 2000}, "Cy", None]
    }
    both = Filter(must=(Match("name", ("Ada",)), Match("year", (2000,))))
    assert holds(Match("cast[].name", ("Ada",)), payload)
    assert holds(Match("cast[].year", (2000,)), payload)
    assert not holds(Nested("cast", both), payload)
    assert holds(Nested("cast[]", Filter(must_not=(both,))), payload)
    assert holds(Nested("cast", Filter(must=(Range("year", gt=1995),))), payload)
    assert holds(Nested("cast[1]", Filter(must=(Match("name", ("Bo",)),))), payload)
    assert not holds(Nested("missing", Filter()), payload)
    assert not holds(Nested("cast[2]", Filter()), payload)


YES, NO = HasId((5,)), HasId(())


@pytest.mark.parametrize(
    ("filter", "clause"),
    [
        (Filter(), ""),
        (Filter(must=(YES, YES)), ""),
        (Filter(must=(YES, NO, NO)), "must[1]"),
        (Filter(should=(NO, YES)), ""),
        (Filter(should=(NO, NO)), "should"),
        (Filter(must_not=(NO, NO, YES)), "must_not[2]"),
        (Filter(min_should=MinShould((YES, NO, YES), 2)), ""),
        (Filter(min_should=MinShould((YES, NO, NO), 2)), "min_should"),
        (Filter(min_should=MinShould((), 1)), "min_should"),
        (Filter(must=(Filter(must_not=(NO, YES)),)), "must[0].must_not[1]"),
        (Filter(must=(YES, Filter(must=(Filter(should=(NO,)),)))), "must[1].must[0].should"),
        (Filter(must_not=(Filter(must=(NO,)), Filter())), "must_not[1]"),
        (Filter(must=(NO,), should=(NO,), must_not=(YES,)), "must[0]"),
        (Filter(must=(Nested("f", Filter(must=(YES,))),)), "must[0]"),
    ],
)
def test_the_clause_that_drops_a_document(filter: Filter, clause: str) -> None:
    assert dropped_by(filter, 5, None, {}) == clause
    assert matches(filter, 5, None, {}) is (clause == "")
