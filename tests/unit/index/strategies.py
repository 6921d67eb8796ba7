"""What hypothesis draws: ids of both kinds, and weights that are hard to add up."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

VOCABULARY = 12

SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
AWKWARD = [SMALLEST, 1.1e-38, 1e-30, 0.1, 1 / 3, 0.5, 1.0, 2.0, 16_777_216 / 1e3, 1e6]

weights = st.one_of(
    st.sampled_from([float(np.float32(weight)) for weight in AWKWARD]),
    st.floats(2.0**-100, 1e6, width=32),
)
vectors = st.dictionaries(st.integers(0, VOCABULARY - 1), weights, max_size=8)
queries = st.dictionaries(st.integers(0, VOCABULARY - 1), weights, min_size=1, max_size=8)

# Few of them, so that documents are replaced and deleted often; 5 and "5" side by side.
ids = st.one_of(
    st.integers(0, 9),
    st.integers(0, 9).map(str),
    st.sampled_from([2**64 - 1, 2**32, "é", "\U0001f600", "z" * 256, "a\0b"]),
)
limits = st.sampled_from([1, 2, 3, 10, 10_000])
