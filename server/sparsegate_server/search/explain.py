"""A score, term by term."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from sparsegate_server.types import SparseVector


@dataclass(frozen=True, slots=True)
class TermContribution:
    """What one query term brings. `contribution` is the exact product of the two weights: both are
    float32, so that their product fits a float64."""

    term_id: int
    term: str
    query_weight: float
    document_weight: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Attributes:
    score: float32, with the bits that a search returns.
    terms: shared terms, by descending contribution, ties by term id.
    missing: query terms that the document lacks, by descending query weight, ties by term id.
    """

    score: float
    terms: tuple[TermContribution, ...]
    missing: tuple[TermContribution, ...]


def explain(query: SparseVector, document: SparseVector, term: Callable[[int], str]) -> Explanation:
    """Splits a score into its terms.

    Args:
        term: gives the vocabulary's string for a term id.
    """
    at = np.searchsorted(document.indices, query.indices)
    inside = at < len(document)
    shared = np.zeros(len(query), bool)
    shared[inside] = document.indices[at[inside]] == query.indices[inside]
    weights = np.zeros(len(query), np.float32)
    weights[shared] = document.values[at[shared]]
    rows = [
        TermContribution(int(t), term(int(t)), float(q), float(d), float(q) * float(d))
        for t, q, d in zip(query.indices, query.values, weights, strict=True)
    ]
    return Explanation(
        score=_score(row.contribution for row in rows),
        terms=tuple(
            sorted(
                (row for row, hit in zip(rows, shared, strict=True) if hit),
                key=lambda row: (-row.contribution, row.term_id),
            )
        ),
        missing=tuple(
            sorted(
                (row for row, hit in zip(rows, shared, strict=True) if not hit),
                key=lambda row: (-row.query_weight, row.term_id),
            )
        ),
    )


def _score(contributions: Iterable[float]) -> float:
    """The definition of the score: float64, one at a time, in ascending term id, then float32.

    Python's own `sum` compensates rounding errors and so would give other bits. Terms that the
    document lacks add zero, which changes nothing.
    """
    total = 0.0
    for contribution in contributions:
        total += contribution
    return float(np.float32(total))
