"""How good a ranking is, and how far two rankings and two vectors lie apart: pure functions."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.types import SparseVector

Scores = NDArray[np.float32]
Id = TypeVar("Id", bound=Hashable)


def ndcg(ranking: Sequence[Id], relevant: Mapping[Id, float], k: int = 10) -> float:
    """Normalised discounted cumulative gain with linear gains, as trec_eval's `ndcg_cut`.

    Järvelin and Kekäläinen 2002 (https://doi.org/10.1145/582415.582418), with the discount
    log2(rank + 1).

    Args:
        ranking: document ids, best first.
        relevant: the judged documents' grades; those at or below 0 gain nothing.
        k: how far the ranking is read.

    Returns:
        0 to 1; 0 where no document is relevant.
    """
    best = _dcg(sorted(relevant.values(), reverse=True)[:k])
    return _dcg([relevant.get(id, 0.0) for id in ranking[:k]]) / best if best else 0.0


def top(scores: Scores, k: int = 10) -> NDArray[np.int64]:
    """The greatest scores above zero, descending; of equal ones, the smaller position first.

    Args:
        scores: float32 [documents], 0 where a document has no term of the query.

    Returns:
        int64 [at most k], positions.
    """
    order = np.argsort(-scores, kind="stable")[:k]
    return order[scores[order] > 0]


def overlap(reference: Scores, found: Scores, k: int = 10) -> float:
    """The share of the reference's best `k` documents that are among the other's best `k`.

    Which documents of equal score fill the last places is chance, in either ranking: they count in
    favour. Where the reference has fewer than `k` hits, both are cut at that many.

    Args:
        reference, found: float32 [documents], scores of one query.

    Returns:
        0 to 1; 1 where neither has a hit.
    """
    k = min(k, int((reference > 0).sum()))
    if not k:
        return float(not (found > 0).any())
    above, tied, places = _places(reference, k)
    found_above, found_tied, found_places = _places(found, k)
    sure = int((above & found_above).sum())
    # A document needs a place in each ranking in which it is one of equals.
    here = min(places, int((tied & found_above).sum()))
    there = min(found_places, int((above & found_tied).sum()))
    both = min(places - here, found_places - there, int((tied & found_tied).sum()))
    return (sure + here + there + both) / k


def _places(scores: Scores, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], int]:
    """Who is surely among the best `k`, who are the equals at its end, and their places."""
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = scores > last
    return above, (scores == last) & (scores > 0), k - int(above.sum())


def difference(
    one: SparseVector,
    other: SparseVector,
    floor: float = 0.0,
    other_floor: float = 0.0,
    *,
    relative: bool = False,
) -> float:
    """The greatest difference of a term's weight between two vectors.

    Args:
        floor, other_floor: the weight that a term which `one`, or `other`, leaves out has at most:
            the threshold, or the smallest kept weight of a capped vector.
        relative: divides the difference of weights above 1 by the weight. Sums over tokens grow
            with the text, and their rounding with them.
    """
    terms, where, other_where = np.intersect1d(
        one.indices, other.indices, assume_unique=True, return_indices=True
    )
    alone, other_alone = (
        each.values[np.isin(each.indices, terms, invert=True)] for each in (one, other)
    )
    weights = np.concatenate([one.values[where], alone, other_alone]).astype(np.float64)
    beside = np.concatenate(
        [
            other.values[other_where].astype(np.float64),
            np.minimum(alone, other_floor),
            np.minimum(other_alone, floor),
        ]
    )
    apart = np.abs(weights - beside)
    if relative:
        apart /= np.maximum(1, weights)
    return float(apart.max(initial=0.0))


def _dcg(gains: Sequence[float]) -> float:
    return sum(max(0.0, gain) / math.log2(rank + 2) for rank, gain in enumerate(gains))
