"""The score of one document against one query: the definition, written down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import F32, U32
from sparsegate_server.index.kernels.registry import kernel


@kernel(U32, F32, U32, F32)
def dot(
    query_terms: NDArray[np.uint32],
    query_weights: NDArray[np.float32],
    terms: NDArray[np.uint32],
    weights: NDArray[np.float32],
) -> float:
    """Σ float64(query weight) · float64(document weight) in ascending term id, as a float64.

    Both vectors ascend. The sum is zero if and only if they share no term.
    """
    total = 0.0
    left, right = 0, 0
    while left < len(query_terms) and right < len(terms):
        if query_terms[left] < terms[right]:
            left += 1
        elif query_terms[left] > terms[right]:
            right += 1
        else:
            total += np.float64(query_weights[left]) * np.float64(weights[right])
            left += 1
            right += 1
    return total
