"""The exact best scores, by a plain sum of all postings in float64, and recall by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.forward import Forward, indptr_of
from sparsegate_server.types import SparseVector

_TOLERANCE = 1e-5
"""Relative: engines that add in float32 come this close to a score."""

DEPTHS = (10, 1000)


class Answer(NamedTuple):
    """Attributes:
    ids: int64 [at most k]. scores: float64, parallel to it.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]


class Depth(NamedTuple):
    """Attributes:
    score: of the document at this place. reachable: how many places there are down to it.
    """

    score: float
    reachable: int


class Truth:
    """Args:
    documents, questions: all that is searched, and all that is asked.
    """

    def __init__(self, documents: Forward, questions: Sequence[SparseVector]) -> None:
        self._documents = documents
        self._questions = questions
        order = np.argsort(documents.terms, kind="stable")
        rows = np.repeat(np.arange(len(documents), dtype=np.int32), np.diff(documents.indptr))
        self._rows = rows[order]
        self._weights = documents.weights[order]
        self._vocabulary = 1 + max(
            int(documents.terms.max()), *(int(each.indices.max()) for each in questions)
        )
        counts = np.bincount(documents.terms, minlength=self._vocabulary)
        self.frequencies: NDArray[np.int64] = counts.astype(np.int64)
        self._starts = indptr_of(self.frequencies)
        self._depths: dict[int, dict[int, Depth]] = {}

    def postings(self, rows: Sequence[int]) -> float:
        """How many a question touches, in the mean."""
        return float(
            np.mean([self.frequencies[self._questions[row].indices].sum() for row in rows])
        )

    def depth(self, row: int, k: int) -> Depth:
        """The k-th best score of a question, k one of `DEPTHS`."""
        if row not in self._depths:
            scores = self._scores(self._questions[row])
            found = scores[scores > 0]
            best = -np.sort(-_largest(found, max(DEPTHS)))
            self._depths[row] = {k: _depth(best, k) for k in DEPTHS}
        return self._depths[row][k]

    def recall(self, rows: Sequence[int], answers: Sequence[Answer], k: int) -> float:
        """The share of the best k that was found. A document counts if its true score reaches the
        k-th best true score, so that ties do not matter; an answer that holds one twice counts for
        nothing."""
        hits = wanted = 0
        for row, answer in zip(rows, answers, strict=True):
            bar, reachable = self.depth(row, k)
            wanted += reachable
            if len(np.unique(answer.ids)) == len(answer.ids):
                scores = self._scores_of(self._questions[row], answer.ids[:k])
                enough = scores >= bar - _TOLERANCE * abs(bar)
                hits += min(reachable, int(enough.sum()))
        return hits / max(wanted, 1)

    def _scores(self, question: SparseVector) -> NDArray[np.float64]:
        places, weights = [], []
        for term, value in zip(question.indices.tolist(), question.values.tolist(), strict=True):
            span = slice(self._starts[term], self._starts[term + 1])
            places.append(self._rows[span])
            weights.append(self._weights[span] * np.float64(value))
        return _sums(np.concatenate(places), np.concatenate(weights), len(self._documents))

    def _scores_of(self, question: SparseVector, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        if not len(ids):
            return np.empty(0)
        table = np.zeros(self._vocabulary)
        table[question.indices] = question.values
        starts = self._documents.indptr[ids]
        lengths = self._documents.indptr[ids + 1] - starts
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
        products = table[self._documents.terms[places]] * self._documents.weights[places]
        owners = np.repeat(np.arange(len(ids)), lengths)
        return _sums(owners, products, len(ids))


def _sums(
    places: NDArray[np.integer[Any]], values: NDArray[np.float64], length: int
) -> NDArray[np.float64]:
    return np.bincount(places, values, minlength=length).astype(np.float64, copy=False)


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    return np.partition(values, -count)[-count:] if len(values) > count else values


def _depth(best: NDArray[np.float64], k: int) -> Depth:
    reachable = min(k, len(best))
    return Depth(float(best[reachable - 1]) if reachable else 0.0, reachable)


def equal_scores(ours: Sequence[Answer], theirs: Sequence[Answer]) -> float:
    """The share of questions whose best scores agree. Places that score nothing are passed over."""
    same = [
        len(mine) == len(other) and bool(np.allclose(mine, other, rtol=_TOLERANCE, atol=0))
        for mine, other in zip(map(_positive, ours), map(_positive, theirs), strict=True)
    ]
    return float(np.mean(same))


def _positive(answer: Answer) -> NDArray[np.float64]:
    scores = -np.sort(-answer.scores)
    return scores[scores > 0]
