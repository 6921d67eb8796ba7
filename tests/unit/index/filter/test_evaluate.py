from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegate_server.filters import (
    TEXT_FIELD,
    Condition,
    Contains,
    FieldKind,
    Filter,
    HasId,
    IsEmpty,
    Match,
    MinShould,
)
from sparsegate_server.index.filter import (
    Bounds,
    Column,
    bounds,
    canonical,
    check,
    matches,
)
from sparsegate_server.index.filter.check import clauses
from sparsegate_server.index.filter.match import values_of
from sparsegate_server.types import DocumentId, Payload

from .strategies import FIELDS, IDS, filters, filters_of, on_field, payloads, texts
from .test_column import fits

Kinds = Mapping[str, FieldKind]


@dataclass(frozen=True, slots=True)
class Document:
    id: DocumentId
    text: str | None
    payload: Payload


documents = st.builds(Document, st.sampled_from(IDS), texts, payloads)
segments = st.lists(documents, max_size=6, unique_by=lambda each: (type(each.id), each.id))
paths = sorted({canonical(field) for field in FIELDS})
declared = st.dictionaries(st.sampled_from(paths), st.sampled_from(list(FieldKind)))


def evaluated(filter: Filter, segment: Sequence[Document], kinds: Kinds) -> Bounds:
    columns = {
        field: Column.build(kind, (values_of(field, each.text, each.payload) for each in segment))
        for field, kind in kinds.items()
    }

    def find(wanted: Sequence[DocumentId]) -> Iterable[int]:
        keys = {(type(each), each) for each in wanted}
        return [row for row, each in enumerate(segment) if (type(each.id), each.id) in keys]

    return bounds(filter, len(segment), kinds, columns.get, find)


def truth(filter: Filter, segment: Sequence[Document]) -> set[int]:
    return {
        row for row, each in enumerate(segment) if matches(filter, each.id, each.text, each.payload)
    }


def told(condition: Condition, kinds: Kinds) -> bool:
    """Whether columns of these kinds must answer a condition without a rest."""
    match condition:
        case Filter():
            return all(told(each, kinds) for _, each in clauses(condition))
        case HasId():
            return True
        case Contains():
            field = TEXT_FIELD
        case _:
            field = canonical(condition.field)
    return field in kinds and fits(condition, kinds[field])


@settings(deadline=None)
@given(filters, st.lists(st.tuples(segments, declared), min_size=1, max_size=3))
def test_bounds_hold_the_truth_in_every_segment(
    filter: Filter, parts: list[tuple[list[Document], Kinds]]
) -> None:
    check(filter)
    for segment, kinds in parts:
        found = evaluated(filter, segment, kinds)
        assert set(found.lower) <= truth(filter, segment) <= set(found.upper)
        assert found.exact or not told(filter, kinds)


@settings(deadline=None)
@given(st.data(), segments)
def test_a_filter_whose_every_field_is_indexed_is_exact(
    data: st.DataObject, segment: list[Document]
) -> None:
    kinds = dict(zip(paths, data.draw(st.permutations(list(FieldKind) * 2)), strict=False))
    leaves = on_field(st.sampled_from(paths)).filter(lambda each: told(each, kinds))
    filter = data.draw(filters_of(leaves | filters_of(leaves)))
    found = evaluated(filter, segment, kinds)
    assert found.unindexed == set()
    assert found.fields <= kinds.keys()
    assert set(found.lower) == set(found.upper) == truth(filter, segment)


SEGMENT = [Document(0, None, {"a": "x"}), Document(1, None, {"a": "y", "b": 1})]


def test_without_a_column_every_row_stays_open() -> None:
    found = evaluated(Filter(must=(Match("a", ("x",)),)), SEGMENT, {})
    assert (set(found.lower), set(found.upper)) == (set(), {0, 1})
    negated = evaluated(Filter(must_not=(Match("a", ("x",)),)), SEGMENT, {})
    assert (set(negated.lower), set(negated.upper)) == (set(), {0, 1})


def test_an_indexed_clause_narrows_what_the_others_leave_open() -> None:
    both = Filter(must=(IsEmpty("b"), Match("a", ("x",))))
    found = evaluated(both, SEGMENT, {"b": FieldKind.NUMBER})
    assert (set(found.lower), set(found.upper)) == (set(), {0})


def test_a_path_with_brackets_finds_the_column_of_the_same_field() -> None:
    assert evaluated(Filter(must=(Match("a[]", ("x",)),)), SEGMENT, {"a": FieldKind.KEYWORD}).exact


def test_more_is_asked_for_than_there_is() -> None:
    filter = Filter(min_should=MinShould((HasId((0,)), HasId((0, 1))), 3))
    assert not evaluated(filter, SEGMENT, {}).upper


@pytest.mark.parametrize("depth", [1, 7, 8, 40])
def test_clauses_nest_as_deep_as_they_like(depth: int) -> None:
    one: Condition = HasId((0,))
    for _ in range(depth):
        one = Filter((Filter(), one), must_not=(Filter((HasId((1,)), HasId((1,)))),))
    assert set(evaluated(Filter((Filter(), one)), SEGMENT, {}).upper) == {0}
