"""The efforts of a collection's searches: what was measured, kept, and made of a target recall."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from sparsegate_server.errors import InvalidRequest, NotCalibrated
from sparsegate_server.index.calibration import effort_for
from sparsegate_server.index.measuring import Measuring, Search
from sparsegate_server.operations import Calibration, Counts, SearchOptions
from sparsegate_server.types import SparseVector


class Efforts:
    """Args:
    calibration: that the store has, if any.
    keep: makes a new one durable.
    """

    def __init__(
        self, calibration: Calibration | None, keep: Callable[[Calibration], object]
    ) -> None:
        self.calibration = calibration
        self._keep = keep
        self._closed = False
        self._measuring = threading.Lock()

    def close(self) -> None:
        """Gives up what is being measured, at its next search."""
        self._closed = True

    def resolved(self, options: SearchOptions) -> SearchOptions:
        """The same options with the effort that their target recall takes, if they have one.

        Raises:
            InvalidRequest: an effort or a target that is not above 0 and at most 1.
            NotCalibrated.
        """
        target = options.target_recall
        if target is None:
            _check_share("level", options.effort)
            return options
        _check_share("target_recall", target)
        if self.calibration is None:
            raise NotCalibrated(
                f"nobody has measured what effort a recall of {target:g} takes in this collection:"
                " calibrate it first with some hundred queries (CalibrateEffort, or `sparsegate"
                " calibrate`), or give a level of effort",
                field="effort.target_recall",
            )
        return replace(options, effort=effort_for(self.calibration, target), target_recall=None)

    def calibrate(
        self,
        search: Search,
        queries: Sequence[SparseVector],
        limit: int,
        *,
        counts: Callable[[], Counts],
        abandoned: Callable[[], bool],
    ) -> Calibration:
        """Measures how much effort a recall takes, and keeps that; one calibration at a time.

        Args:
            search: of the collection.
            queries: like those that will be asked.
            limit: hits of each search, of which the recall is measured.
            counts: of the collection now.
            abandoned: whether nobody waits for the result any more.

        Raises:
            InvalidRequest: too few of the queries have a hit.
            InvalidVector, UnknownTerm: a query that no document could be scored by.
            ShuttingDown: the collection was closed, or the calibration abandoned.
        """
        with self._measuring:
            measuring = Measuring(search, limit, lambda: self._closed or abandoned())
            measured = measuring.run(queries, counts())
            self._keep(measured)
            self.calibration = measured
            return measured


def _check_share(name: str, share: float) -> None:
    if not 0 < share <= 1:
        raise InvalidRequest(f"{share:g} is not above 0 and at most 1", field=f"effort.{name}")
