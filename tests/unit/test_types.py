"""A caller's vector is checked in one pass and normalised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.errors import InvalidVector, UnknownTerm
from sparsegate_server.types import MAX_WEIGHT, SparseVector

VOCABULARY = 100
WEIGHTS = st.floats(0, MAX_WEIGHT, width=32)


def vector(indices: list[int], values: list[float]) -> SparseVector:
    return SparseVector.from_untrusted(
        np.array(indices, np.uint32), np.array(values, np.float32), VOCABULARY
    )


@given(st.dictionaries(st.integers(0, VOCABULARY - 1), WEIGHTS))
def test_good_vectors_come_out_sorted_and_without_zeros(terms: dict[int, float]) -> None:
    kept = {term: weight for term, weight in sorted(terms.items()) if weight > 0}
    if not kept:
        with pytest.raises(InvalidVector):
            vector(list(terms), list(terms.values()))
        return
    made = vector(list(terms), list(terms.values()))
    assert made.indices.tolist() == list(kept)
    assert made.values.tolist() == list(kept.values())
    assert (made.indices.dtype, made.values.dtype) == (np.uint32, np.float32)


@given(
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, unique=True),
    st.data(),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), -1.0, -1e-45, 1e7]),
)
def test_a_bad_weight_is_named(indices: list[int], data: st.DataObject, bad: float) -> None:
    at = data.draw(st.integers(0, len(indices) - 1))
    values = [1.0] * len(indices)
    values[at] = bad
    with pytest.raises(InvalidVector) as caught:
        vector(indices, values)
    assert caught.value.field == f"values[{at}]"


def test_bad_terms_are_named() -> None:
    with pytest.raises(UnknownTerm) as unknown:
        vector([1, VOCABULARY], [1, 1])
    assert unknown.value.field == "indices[1]"
    with pytest.raises(InvalidVector) as duplicate:
        vector([7, 3, 7], [1, 1, 1])
    assert duplicate.value.field == "indices[2]"
    with pytest.raises(InvalidVector) as unequal:
        vector([7, 3], [1])
    assert unequal.value.field == "values"
