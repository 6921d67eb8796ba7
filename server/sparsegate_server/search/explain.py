"""A score, term by term, and what sets it back behind another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class TermGap:
    """How one query term sets a document back behind another, the bar.

    `difference` is query_weight · (bar_weight - document_weight), above zero.
    """

    term_id: int
    term: str
    query_weight: float
    document_weight: float
    bar_weight: float
    difference: float


def explain(query: SparseVector, document: SparseVector, term: Callable[[int], str]) -> Explanation:
    """Splits a score into its terms.

    Args:
        term: gives the vocabulary's string for a term id.
    """
    shared, weights = _looked_up(query, document)
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


def closing_terms(
    query: SparseVector,
    document: SparseVector,
    bar: SparseVector,
    gap: float,
    term: Callable[[int], str],
) -> tuple[TermGap, ...]:
    """The smallest set of terms that closes the gap between a document and the bar.

    With the bar's weights for these terms, and its own for all others, the document would score at
    least as high as the bar. Scores are rounded to float32 and so is their gap: where all terms
    together fall short of it by that rounding, all are returned.

    Args:
        gap: the bar's score less the document's; nothing closes a gap that is not above zero.
        term: gives the vocabulary's string for a term id.

    Returns:
        By descending difference, ties by term id.
    """
    rows = _set_back(query, document, bar, term)
    closing: list[TermGap] = []
    closed = 0.0
    for row in sorted(rows, key=lambda row: (-row.difference, row.term_id)):
        if closed >= gap:
            break
        closing.append(row)
        closed += row.difference
    return tuple(closing)


def _set_back(
    query: SparseVector, document: SparseVector, bar: SparseVector, term: Callable[[int], str]
) -> list[TermGap]:
    """All terms in which the bar is ahead."""
    _, own = _looked_up(query, document)
    _, others = _looked_up(query, bar)
    return [
        TermGap(
            int(t), term(int(t)), float(q), float(d), float(b), float(q) * (float(b) - float(d))
        )
        for t, q, d, b in zip(query.indices, query.values, own, others, strict=True)
        if b > d
    ]


def _looked_up(
    query: SparseVector, document: SparseVector
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """For each query term, whether the document has it, and its weight there or zero."""
    at = np.searchsorted(document.indices, query.indices)
    inside = at < len(document)
    shared = np.zeros(len(query), bool)
    shared[inside] = document.indices[at[inside]] == query.indices[inside]
    weights = np.zeros(len(query), np.float32)
    weights[shared] = document.values[at[shared]]
    return shared, weights


def _score(contributions: Iterable[float]) -> float:
    """The definition of the score: float64, one at a time, in ascending term id, then float32.

    Python's own `sum` compensates rounding errors and so would give other bits. Terms that the
    document lacks add zero, which changes nothing.
    """
    total = 0.0
    for contribution in contributions:
        total += contribution
    return float(np.float32(total))
