"""nDCG, as trec_eval counts it: gains are the grades themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def ndcg(ranking: Sequence[int], gains: Mapping[int, int], depth: int = 10) -> float:
    """Discounted gain of a ranking ÷ that of the best possible one, from 0 to 1.

    Args:
        ranking: documents, the best first.
        gains: of the relevant documents; there must be one.
        depth: how many ranks count.
    """
    found = [gains.get(document, 0) for document in ranking[:depth]]
    best = sorted(gains.values(), reverse=True)[:depth]
    return _discounted(found) / _discounted(best)


def _discounted(gains: Sequence[int]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
