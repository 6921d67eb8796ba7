"""Dead documents on their way out of the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import ShuttingDown
from sparsegate_server.index.view import Published
from sparsegate_server.operations import WriteResult

_AT_ONCE: Final = 20_000
"""Documents that one step of the writer forgets."""


class Dropped(NamedTuple):
    """Documents that no segment holds any more; no read that is pinned to `sequence` or later needs
    them."""

    sequence: int
    numbers: NDArray[np.int64]


class Graves:
    """Keeps dropped documents until no read can ask for them, then has the store forget them.

    Args:
        purge: submits a step that forgets documents by number.
    """

    def __init__(
        self, published: Published, purge: Callable[[Sequence[int]], Future[WriteResult]]
    ) -> None:
        self._published = published
        self._submit = purge
        self._lock = threading.Lock()
        self._dropped: list[Dropped] = []

    def drop(self, dropped: Dropped) -> None:
        self._keep(dropped)
        self.purge()

    def purge(self) -> None:
        """Has those forgotten that nobody can see any more."""
        oldest = self._published.oldest()
        with self._lock:
            due = [each for each in self._dropped if each.sequence <= oldest]
            self._dropped = [each for each in self._dropped if each.sequence > oldest]
        for each in due:
            for start in range(0, len(each.numbers), _AT_ONCE):
                some = Dropped(each.sequence, each.numbers[start : start + _AT_ONCE])
                try:
                    purged = self._submit(some.numbers.tolist())
                except ShuttingDown:
                    return  # the next start finds them
                purged.add_done_callback(partial(self._check, some))

    def _check(self, dropped: Dropped, purged: Future[WriteResult]) -> None:
        """A purge that failed, as when the disk is full, is tried again after a later write."""
        if purged.exception():
            self._keep(dropped)

    def _keep(self, dropped: Dropped) -> None:
        if len(dropped.numbers):
            with self._lock:
                self._dropped.append(dropped)
