"""An explanation adds up to the score, to the bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.search.explain import explain
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
