"""A tail's chains of postings find what scoring its documents one by one finds, whenever a view of
it was made."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.index import kernels
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.leaders import NO_BAR, Leaders
from sparsegate_server.index.part import Query
from sparsegate_server.index.rows import Rows
from sparsegate_server.index.tail import Tail, TailView
from sparsegate_server.index.values import Record

from .oracle import sparse

kernels.warm_up()
VOCABULARY = 70_000
TERMS = st.sampled_from([0, 1, 2, 3, 50, 900, VOCABULARY - 1])
WEIGHTS = st.sampled_from([1e-30, 0.25, 0.5, 1.0, 3.0])
vectors = st.dictionaries(TERMS, WEIGHTS, min_size=1, max_size=5)


def append(tail: Tail, documents: list[dict[int, float]], sequence: int) -> None:
    count = len(documents)
    numbers = range(tail.count, tail.count + count)
    tail.append(
        Rows(
            [number.to_bytes(8, "big") for number in numbers],
            [Record(None, {})] * count,
            [(0, 0)] * count,
            Forward.of(list(map(sparse, documents))).stored(VOCABULARY),
            numbers,
        ),
        sequence,
    )


def hits(view: TailView, query: Query, bar: np.float32, mask: Mask | None) -> dict[int, float]:
    leaders = Leaders(query.limit, bar)
    found = view.search(query, leaders, mask)
    pairs = dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))
    best = sorted(pairs.values(), reverse=True)[: query.limit]
    assert sorted(leaders.scores[: leaders.filled].tolist(), reverse=True) == best
    return pairs


def truth(view: TailView, query: Query, bar: np.float32, mask: Mask | None) -> dict[int, float]:
    rows = np.arange(view.rows, dtype=np.uint32) if mask is None else mask.rows()
    found = view.above(query, bar, rows)
    return dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))


@given(
    st.lists(st.lists(vectors, min_size=1, max_size=6), min_size=1, max_size=6),
    vectors,
    st.sampled_from([NO_BAR, np.float32(0), np.float32(1)]),
    st.data(),
)
def test_a_view_finds_its_own_documents_however_the_tail_goes_on(
    batches: list[list[dict[int, float]]],
    asked: dict[int, float],
    bar: np.float32,
    data: st.DataObject,
) -> None:
    tail = Tail(np.uint32)
    views = [tail.view()]
    for sequence, documents in enumerate(batches, 1):
        append(tail, documents, sequence)
        dying = data.draw(st.sets(st.integers(0, tail.count - 1), max_size=3), "dying")
        keys = [number.to_bytes(8, "big") for number in sorted(dying)]
        tail.bury(tail.live_rows(keys), sequence)
        views.append(tail.view())
    vector = sparse(asked)
    for sequence, view in enumerate(views):
        rows = data.draw(st.none() | st.sets(st.integers(0, max(0, view.rows - 1))), "allowed")
        mask = None if rows is None or not view.rows else Mask.of(sorted(rows), view.rows)
        query = Query(vector.indices, vector.values, VOCABULARY, 3, np.uint64(sequence), bar)
        assert hits(view, query, bar, mask) == truth(view, query, bar, mask)
