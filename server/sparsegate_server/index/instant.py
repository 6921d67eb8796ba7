"""What searches at one instant have to know of the whole collection."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.filters import Filter
from sparsegate_server.index.filtering import Filtering, Passing
from sparsegate_server.index.view import View
from sparsegate_server.types import SparseVector


class Instant:
    """For one search: everything is worked out when it is asked for.

    Args:
        view: pinned for as long as this is used.
    """

    def __init__(self, view: View, filtering: Filtering) -> None:
        self.view = view
        self._filtering = filtering

    def passing(self, filter: Filter) -> Passing:
        """The rows that pass; raises as `Filtering.passing` does."""
        return self._filtering.passing(self.view, filter)

    def with_idf(self, query: SparseVector) -> SparseVector:
        """Each weight times ln(1 + (N - n + 0.5) / (n + 0.5)), in float64, rounded to float32.

        N counts the live documents of the whole collection at the instant, n those that have the
        term. The factor is Robertson and Spärck Jones' with Lucene's 1 inside the logarithm, which
        keeps it above zero.
        """
        documents = self.view.documents
        factors = [
            math.log(1 + (documents - count + 0.5) / (count + 0.5))
            for count in self._frequencies(query.indices).tolist()
        ]
        weights = (query.values.astype(np.float64) * np.array(factors)).astype(np.float32)
        # A factor can push the smallest weights below what a float32 can say.
        kept = weights > 0
        return SparseVector(query.indices[kept], weights[kept])

    def _frequencies(self, terms: NDArray[np.uint32]) -> NDArray[np.int64]:
        """How many live documents have each term: int64 [n]."""
        counts = np.zeros(len(terms), np.int64)
        for part in self.view.parts:
            counts += part.frequencies(terms, self.view.sequence)
        return counts


class SharedInstant(Instant):
    """For many searches in any threads: each filter is evaluated once, each term counted once.

    Args:
        vocabulary: term ids are below it.
        filters: of all the searches, so that none is kept longer than they need it.
    """

    def __init__(
        self, view: View, filtering: Filtering, vocabulary: int, filters: Iterable[Filter]
    ) -> None:
        super().__init__(view, filtering)
        self._lock = threading.Lock()
        self._filters = filters
        self._coming: Counter[str] | None = None
        self._evaluated: dict[str, Future[Passing]] = {}
        self._vocabulary = vocabulary
        self._counted: NDArray[np.int64] | None = None

    def passing(self, filter: Filter) -> Passing:
        """As `Instant.passing`; whoever comes second waits for the first.

        Raises:
            One error for all that ask with the same filter.
        """
        passing, first = self._entry(filter)
        if first:
            try:
                passing.set_result(super().passing(filter))
            except BaseException as error:  # whatever it is, nobody may wait for ever
                passing.set_exception(error)
        return passing.result()

    def _entry(self, filter: Filter) -> tuple[Future[Passing], bool]:
        """The rows that pass, now or later, and whether it is up to the caller to find them."""
        # Not the filter itself: 1 and True are equal in Python, but not to a filter.
        key = repr(filter)
        with self._lock:
            if self._coming is None:
                self._coming = Counter(map(repr, self._filters))
            found = self._evaluated.get(key)
            passing = self._evaluated[key] = found or Future()
            self._coming[key] -= 1
            if self._coming[key] <= 0:
                del self._evaluated[key]
            return passing, found is None

    def _frequencies(self, terms: NDArray[np.uint32]) -> NDArray[np.int64]:
        counted = self._counted
        if counted is None:
            counted = self._counted = np.full(self._vocabulary, -1)
        # Two threads may count one term side by side: both write the same number.
        new = terms[counted[terms] < 0]
        if len(new):
            counted[new] = super()._frequencies(new)
        return counted[terms]
