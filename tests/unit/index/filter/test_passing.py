from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from sparsegate_server.errors import UnindexedFilter
from sparsegate_server.filters import FieldKind, Filter, HasId, Match, MatchText, Range
from sparsegate_server.index import ids
from sparsegate_server.index.columns import column_of
from sparsegate_server.index.filter.match import matches
from sparsegate_server.index.filtering import Filtering
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.hydration import Hydration
from sparsegate_server.index.rows import Rows
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.tail import Tail
from sparsegate_server.index.values import Record
from sparsegate_server.index.view import View

INDEXES = {"color": FieldKind.KEYWORD, "price": FieldKind.NUMBER}
COLORS = ("red", "green", "blue")
# Of each part, some die before the view, some after it.
SEALED, LATE, DEAD_BEFORE, DEAD_AFTER = range(300), range(300, 340), [3, 64, 128], [5, 6]
SEQUENCE = 7


def payload(number: int) -> dict[str, str | int]:
    return {"color": COLORS[number % 3], "price": number, "note": f"all {COLORS[number % 2]}"}


def rows_of(numbers: range) -> Rows:
    vectors = Forward(
        np.arange(len(numbers) + 1),
        np.zeros(len(numbers), np.uint16),
        np.ones(len(numbers), np.float32),
    )
    records = [Record(None, payload(number)) for number in numbers]
    keys = [ids.encode(number) for number in numbers]
    return Rows(keys, records, [(0, 0)] * len(numbers), vectors, numbers)


def view_of(*parts: Segment | Tail) -> View:
    seen = tuple(each.view() if isinstance(each, Tail) else each for each in parts)
    return View(SEQUENCE, 0, (seen,), (seen,), INDEXES)


def segment() -> Segment:
    rows = rows_of(SEALED)
    sealed = Segment.of(rows, np.ones(len(SEALED), np.uint64), 1)
    for name, kind in INDEXES.items():
        sealed = sealed.with_column(name, column_of(kind, name, rows.records), "")
    sealed.bury(np.array(DEAD_BEFORE), SEQUENCE)
    sealed.bury(np.array(DEAD_AFTER), SEQUENCE + 1)
    return sealed


def tail() -> Tail:
    late = Tail(np.uint16)
    late.append(rows_of(LATE), 2)
    late.bury(np.array(DEAD_BEFORE[:1]), SEQUENCE)
    late.bury(np.array(DEAD_AFTER), SEQUENCE + 1)
    return late


class Store:
    """Documents as the store has them; those that the view does not show may be gone."""

    def __init__(self) -> None:
        self.read = 0

    def records(self, places: list[tuple[Segment, int]], *, text: bool) -> list[Record]:
        assert not text
        assert not {row for _, row in places} & set(DEAD_BEFORE)
        self.read += len(places)
        return [Record(None, payload(row)) for _, row in places]


def filtering(store: Store, most_unindexed: int = 0) -> Filtering:
    return Filtering(cast(Hydration, store), most_unindexed, texts=False)


def truth(filter: Filter, numbers: range, dead: list[int]) -> set[int]:
    return {
        row
        for row, number in enumerate(numbers)
        if row not in dead and matches(filter, number, None, payload(number))
    }


RED = Match("color", ("red",))
CHEAP = Range("price", lt=310)


@pytest.mark.parametrize(
    "filter",
    [
        Filter(),
        Filter((RED,)),
        Filter((CHEAP,), must_not=(RED,)),
        Filter((HasId((2, 3, 5, 301, 303)),)),
        Filter(should=(HasId((5,)), Filter((RED, CHEAP)))),
        Filter((Match("color", ("none",)),)),
    ],
)
def test_only_visible_rows_count_and_masks_hold_them_all(filter: Filter) -> None:
    sealed, late = segment(), tail()
    view = view_of(sealed, late)
    store = Store()
    passing = filtering(store).passing(view, filter)
    dead = [DEAD_BEFORE, DEAD_BEFORE[:1]]
    expected = [
        truth(filter, numbers, gone) for numbers, gone in zip((SEALED, LATE), dead, strict=True)
    ]
    assert [set(passing.rows[part]) for part in view.parts] == expected
    assert passing.count() == sum(map(len, expected))
    for part, rows, gone in zip(view.parts, expected, dead, strict=True):
        mask = passing.masks[part]
        assert mask.size == part.rows
        assert set(mask) - set(gone) == rows
    assert passing.unindexed == ()
    assert not store.read


def test_documents_are_read_where_no_column_tells() -> None:
    view = view_of(segment(), tail())
    store = Store()
    filter = Filter((RED, MatchText("note", "green")))
    passing = filtering(store, 100).passing(view, filter)
    expected = truth(filter, SEALED, DEAD_BEFORE), truth(filter, LATE, DEAD_BEFORE[:1])
    assert tuple(set(passing.rows[part]) for part in view.parts) == expected
    assert passing.unindexed == ("note",)
    # One of the 100 red documents is dead: nobody reads it, and nobody counts it as a cost.
    assert store.read == 99
    with pytest.raises(UnindexedFilter, match="99 documents, more than the 98"):
        filtering(store, 98).passing(view, filter)
