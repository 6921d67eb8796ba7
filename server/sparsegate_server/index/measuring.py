"""Measures what efforts find and cost: searches, one after another, in the calling thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from sparsegate_server.errors import InvalidRequest, ShuttingDown
from sparsegate_server.index import calibration as rules
from sparsegate_server.index.calibration import EXACT, Trial
from sparsegate_server.operations import Calibration, Counts, SearchOptions, SearchResult
from sparsegate_server.types import SparseVector

_ROUNDS: Final = 2
"""How often the steps are halved."""

Search = Callable[[SparseVector, SearchOptions], SearchResult]


class Measuring:
    """One calibration.

    Args:
        search: of the collection.
        limit: hits of each search.
        abandoned: whether nobody waits for the result any more; asked before every search.
    """

    def __init__(self, search: Search, limit: int, abandoned: Callable[[], bool]) -> None:
        self._search = search
        self._limit = limit
        self._abandoned = abandoned

    def run(self, queries: Sequence[SparseVector], counts: Counts) -> Calibration:
        """A coarse ladder first, then steps between those rungs where the recall rises.

        Args:
            counts: of the collection, as it begins.

        Raises:
            InvalidRequest: too few of the queries have a hit.
            ShuttingDown: it was abandoned.
        """
        answered = [query for query in queries if self._found(query, EXACT).ids]
        if len(answered) < rules.LEAST_QUERIES:
            raise InvalidRequest(
                f"only {len(answered)} of the {len(queries)} queries find anything: calibrate with"
                f" at least {rules.LEAST_QUERIES} that do",
                field="queries",
            )
        trials = self._trials(answered, (*rules.LADDER, EXACT))
        for _ in range(_ROUNDS):
            recalls = {effort: float(trial.recalls.mean()) for effort, trial in trials.items()}
            trials |= self._trials(answered, rules.finer(recalls))
        return Calibration(
            points=rules.points_of(trials),
            limit=self._limit,
            queries=len(answered),
            confidence=rules.CONFIDENCE,
            documents=counts.documents,
            sequence=counts.sequence,
        )

    def _trials(
        self, queries: Sequence[SparseVector], efforts: Sequence[float]
    ) -> dict[float, Trial]:
        """All efforts by turns, query by query, so that other load meets all of them alike."""
        if not efforts:
            return {}
        seen = np.empty((len(efforts), 3, len(queries)))
        for at, query in enumerate(queries):
            # Not timed: it brings what the query touches into the caches, for all efforts alike.
            exact = self._found(query, EXACT)
            for row, effort in enumerate(efforts):
                begin = time.perf_counter()
                found = self._found(query, effort)
                milliseconds = (time.perf_counter() - begin) * 1e3
                if found.sequence != exact.sequence:
                    exact = self._found(query, EXACT)  # a write came between
                share = rules.recall(exact.scores, found.scores) if exact.ids else 1.0
                seen[row, :, at] = share, found.postings_scored, milliseconds
        return {effort: Trial(*seen[row]) for row, effort in enumerate(efforts)}

    def _found(self, query: SparseVector, effort: float) -> SearchResult:
        if self._abandoned():
            raise ShuttingDown("the calibration was given up")
        return self._search(query, SearchOptions(self._limit, effort=effort))
