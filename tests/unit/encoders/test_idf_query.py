"""Queries without a model against the formula, token by token."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.encoders.sparsify import idf_query

VOCABULARY = 12


def slow(ids: list[int], table: list[float], specials: list[int]) -> dict[int, float]:
    """Each token of the query once, if it weighs anything and is no special one."""
    weights: dict[int, float] = {}
    for id in ids:
        if id not in specials and table[id] > 0:
            weights[id] = table[id]
    return weights


@given(
    st.lists(st.integers(0, VOCABULARY - 1), max_size=20),
    st.lists(
        st.sampled_from([0.0, 1.0]) | st.floats(0, 20, width=32),
        min_size=VOCABULARY,
        max_size=VOCABULARY,
    ),
    st.lists(st.integers(0, VOCABULARY - 1), max_size=4, unique=True),
)
def test_a_query_is_the_set_of_its_tokens(
    ids: list[int], table: list[float], specials: list[int]
) -> None:
    vector = idf_query(
        np.array(ids, np.int32), np.array(table, np.float32), np.array(specials, np.int64)
    )
    assert (vector.indices.dtype, vector.values.dtype) == (np.uint32, np.float32)
    assert vector.indices.tolist() == sorted(vector.indices.tolist())
    assert dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True)) == slow(
        ids, table, specials
    )


def test_a_query_of_special_tokens_alone_is_empty() -> None:
    vector = idf_query(np.array([2, 3], np.int32), np.ones(12, np.float32), np.array([2, 3]))
    assert len(vector.indices) == 0
