"""From logits to weighted terms: pure functions on arrays.

The formula is SPLADE's (Formal et al. 2021, "SPLADE v2", https://arxiv.org/abs/2109.10086, eq. 1
with max pooling): the weight of term j in text t is w_j = max over i in t of log(1 + ReLU(w_ij)),
w_ij being the masked-language-model logit of term j at token i. ReLU and log(1 + x) keep order, so
everything but the logarithm itself happens on pooled logits, here and in the exported graph alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.types import SparseVector


def pool(logits: NDArray[np.float32], attention_mask: NDArray[np.int32]) -> NDArray[np.float32]:
    """Each term's greatest logit over the real tokens.

    Args:
        logits: float32 [batch, length, vocabulary].
        attention_mask: int32 [batch, length], 1 for real tokens, else 0.

    Returns:
        float32 [batch, vocabulary]; -inf in a row without a real token.
    """
    rows = [
        row[real].max(axis=0, initial=-np.inf)
        for row, real in zip(logits, attention_mask == 1, strict=True)
    ]
    return np.stack(rows).astype(np.float32, copy=False)


def sparsify(
    pooled: NDArray[np.float32], threshold: float, max_terms: int
) -> tuple[SparseVector, bool]:
    """The terms of one text whose weight is above `threshold`.

    Args:
        pooled: float32 [vocabulary], each term's greatest logit.
        threshold: a weight, at least 0.
        max_terms: of more terms, the heaviest are kept, and of equal ones those of smaller id.

    Returns:
        The vector, and whether it was cut at `max_terms`.
    """
    # A weight is above t where its logit is above exp(t) - 1: compared as the graph does.
    terms = np.flatnonzero(pooled > np.float32(np.expm1(threshold)))
    capped = len(terms) > max_terms
    if capped:
        terms = np.sort(terms[np.lexsort((terms, -pooled[terms]))[:max_terms]])
    vector = SparseVector(terms.astype(np.uint32), np.log1p(pooled[terms]))
    return vector, capped


def from_top_terms(
    indices: NDArray[np.unsignedinteger], values: NDArray[np.float32], max_terms: int
) -> tuple[SparseVector, bool]:
    """The vector of one row of a graph that has kept the terms itself.

    Args:
        indices: uint16 or uint32 [k].
        values: float32 [k], descending, zero past the row's own count.
        max_terms: as for `sparsify`.

    Returns:
        The vector, and whether it was cut at `max_terms`.
    """
    count = int(np.count_nonzero(values > 0))
    kept = min(count, max_terms)
    order = np.argsort(indices[:kept])
    vector = SparseVector(indices[order].astype(np.uint32), values[order])
    return vector, count > max_terms


def top(vector: SparseVector, k: int, threshold: float = 0.0) -> SparseVector:
    """The `k` greatest weights above `threshold`; of equal weights, those of smaller id.

    The result is sorted by id again. `k` of 0 keeps every weight above the threshold.
    """
    above = np.flatnonzero(vector.values > threshold)
    if 0 < k < len(above):
        # Stable, on ids that ascend: equal weights stay in the order of their ids.
        heaviest = np.argsort(-vector.values[above], kind="stable")[:k]
        above = np.sort(above[heaviest])
    return SparseVector(vector.indices[above], vector.values[above])
