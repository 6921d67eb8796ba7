"""Exact scores of queries against documents, one query at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.types import SparseVector


class Postings:
    """All documents' weights, by term.

    Args:
        documents: their vectors; an empty one is never found.
        vocabulary_size: term ids are below it.
    """

    def __init__(self, documents: Sequence[SparseVector], vocabulary_size: int) -> None:
        sizes = [len(each) for each in documents]
        terms = np.concatenate([each.indices for each in documents])
        order = np.argsort(terms, kind="stable")
        self._documents = np.repeat(np.arange(len(documents)), sizes)[order]
        self._weights = np.concatenate([each.values for each in documents])[order].astype(float)
        self._bounds = np.searchsorted(terms[order], np.arange(vocabulary_size + 1))
        self._count = len(documents)

    def scores(self, query: SparseVector) -> NDArray[np.float32]:
        """Scores, as the engine defines them: float64 products, added in ascending term id.

        Returns:
            float32 [documents]; 0 where none of the query's terms is.
        """
        sums = np.zeros(self._count)
        for term, weight in zip(query.indices, query.values.astype(float), strict=True):
            these = slice(self._bounds[term], self._bounds[term + 1])
            sums[self._documents[these]] += weight * self._weights[these]
        return sums.astype(np.float32)
