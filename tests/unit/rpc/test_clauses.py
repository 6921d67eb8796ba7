"""Clauses of the filter that was run, named as the caller wrote them."""

from __future__ import annotations

import pytest

from sparsegate_server.backends.base import with_required
from sparsegate_server.errors import InvalidFilter, InvalidRequest, UnindexedFilter
from sparsegate_server.filters import Contains, Filter, IsNull, Match, MinShould, Nested
from sparsegate_server.rpc.clauses import Clauses

OWN = Filter(
    must=(Match("a", (1,)), Filter(should=(IsNull("b"),), must_not=(Contains("x"),))),
    must_not=(Nested("c", Filter(must=(Match("d", (2,)),))),),
    min_should=MinShould((IsNull("e"),), 1),
)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", ""),
        ("must[0]", "filter.must[0]"),
        ("must[0].values[0]", "filter.must[0].match.values[0]"),
        ("must[1].should", "filter.must[1].filter.should"),
        ("must[1].should[0].field", "filter.must[1].filter.should[0].is_null"),
        ("must[1].must_not[0].phrase", "filter.must[1].filter.must_not[0].contains"),
        ("must_not[0].field", "filter.must_not[0].nested.field"),
        (
            "must_not[0].filter.must[0].field",
            "filter.must_not[0].nested.filter.must[0].match.field",
        ),
        ("min_should", "filter.min_should"),
        ("min_should.count", "filter.min_should.count"),
        ("min_should.conditions[0].field", "filter.min_should.conditions[0].is_null"),
    ],
)
def test_a_clause_of_the_filter(path: str, place: str) -> None:
    assert Clauses(OWN).place(path) == place
    joined = with_required(OWN, [Contains("w")])
    inside = f"must[0].{path}" if path else ""
    assert Clauses(joined, words=1).place(inside) == place


def test_required_words() -> None:
    required = [Contains("v"), Contains("w")]
    joined = Clauses(with_required(OWN, required), words=2)
    assert joined.place("must[0]") == "filter"
    assert joined.place("must[2]") == "must_contain[1]"
    assert joined.place("must[1].phrase") == "must_contain[0]"
    alone = Clauses(with_required(None, required), own=False, words=2)
    assert alone.place("must[0]") == "must_contain[0]"
    assert alone.place("must[1].phrase") == "must_contain[1]"


def test_errors_blame_the_request() -> None:
    clauses = Clauses(OWN)
    with pytest.raises(UnindexedFilter, match="slow") as caught, clauses.blaming():
        raise UnindexedFilter("slow", field="must[0].field", metadata={"field": "a"})
    assert caught.value.field == "filter.must[0].match.field"
    assert caught.value.metadata == {"field": "a"}
    with pytest.raises(InvalidFilter) as caught_too, clauses.blaming():
        raise InvalidFilter("bad", field="filter.must[0].field")
    assert caught_too.value.field == "filter.must[0].match.field"


def test_words_are_to_blame_where_there_is_no_filter() -> None:
    clauses = Clauses(with_required(None, [Contains("w")]), own=False, words=1)
    assert clauses.blame(InvalidFilter("no texts", field="filter")).field == "must_contain"
    assert clauses.blame(UnindexedFilter("slow", field="filter")).field == "must_contain"


def test_other_errors_stay_as_they_are() -> None:
    for error in (InvalidRequest("no", field="must[0]"), InvalidFilter("no", field="filter")):
        assert Clauses(OWN).blame(error) is error
