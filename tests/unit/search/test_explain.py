"""An explanation adds up to the score, to the bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.search.explain import TermGap, closing_terms, explain
from sparsegate_server.types import SparseVector

VECTORS = st.dictionaries(st.integers(0, 30), st.floats(2.0**-60, 1e6, width=32), min_size=1).map(
    lambda terms: SparseVector(
        np.array(sorted(terms), np.uint32),
        np.array([terms[t] for t in sorted(terms)], np.float32),
    )
)


@given(VECTORS, VECTORS)
def test_against_the_definition(query: SparseVector, document: SparseVector) -> None:
    weights = dict(zip(document.indices.tolist(), document.values.tolist(), strict=True))
    total = 0.0
    for term, weight in zip(query.indices.tolist(), query.values.tolist(), strict=True):
        if term in weights:
            total += weight * weights[term]
    explained = explain(query, document, str)
    assert explained.score == float(np.float32(total))
    shared = {row.term_id: row for row in explained.terms}
    assert shared.keys() == set(query.indices.tolist()) & weights.keys()
    assert {row.term_id for row in explained.missing} == set(query.indices.tolist()) - shared.keys()
    for term, row in shared.items():
        assert row.term == str(term)
        assert row.document_weight == weights[term]
    contributions = [row.contribution for row in explained.terms]
    assert contributions == sorted(contributions, reverse=True)


def difference(query: SparseVector, document: SparseVector, bar: SparseVector) -> dict[int, float]:
    """By term, the definition: how far the bar is ahead."""
    own = dict(zip(document.indices.tolist(), document.values.tolist(), strict=True))
    other = dict(zip(bar.indices.tolist(), bar.values.tolist(), strict=True))
    return {
        term: weight * (other.get(term, 0.0) - own.get(term, 0.0))
        for term, weight in zip(query.indices.tolist(), query.values.tolist(), strict=True)
    }


@given(VECTORS, VECTORS, VECTORS, st.floats(0, 1.2))
def test_the_closing_terms_are_the_fewest_that_close_the_gap(
    query: SparseVector, document: SparseVector, bar: SparseVector, share: float
) -> None:
    ahead = {t: d for t, d in difference(query, document, bar).items() if d > 0}
    gap = share * sum(ahead.values())
    closing = closing_terms(query, document, bar, gap, str)
    assert all(row.difference == ahead[row.term_id] for row in closing)
    assert [row.difference for row in closing] == sorted(ahead.values(), reverse=True)[
        : len(closing)
    ]
    closed = 0.0
    for row in closing[:-1]:
        closed += row.difference
    assert not closing or closed < gap  # one fewer would not do
    if closing:
        closed += closing[-1].difference
    assert closed >= gap or len(closing) == len(ahead)


def vector(terms: dict[int, float]) -> SparseVector:
    return SparseVector(np.array(list(terms), np.uint32), np.array([*terms.values()], np.float32))


def test_a_gap_and_its_terms() -> None:
    query = vector({1: 1.0, 2: 2.0, 3: 1.0})
    document, bar = vector({1: 5.0, 3: 1.0}), vector({2: 4.0, 3: 2.0})
    (row,) = closing_terms(query, document, bar, 4.0, "t{}".format)
    assert row == TermGap(2, "t2", 2.0, 0.0, 4.0, 8.0)
    assert [row.term_id for row in closing_terms(query, document, bar, 8.5, str)] == [2, 3]
    assert closing_terms(query, document, bar, 0.0, str) == ()
