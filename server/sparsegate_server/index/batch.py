"""Many searches of one collection as of one instant, dealt to threads chunk by chunk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, TypeAlias

from sparsegate_server.errors import SparsegateError
from sparsegate_server.operations import SearchOptions, SearchResult
from sparsegate_server.types import SparseVector

Search: TypeAlias = Callable[[SparseVector, SearchOptions], SearchResult]
Outcome: TypeAlias = SearchResult | SparsegateError

MOST_IN_A_ROW: Final = 16
"""Searches that a thread answers before it looks for other work, so that a search that comes alone
waits for no more of them."""


class Batch:
    """Searches whose instant stays readable until the context is left and nobody holds it.

    Args:
        search: answers one of them; called in any thread.
        done: called once, when the instant is needed no more.
    """

    def __init__(
        self,
        searches: Sequence[tuple[SparseVector, SearchOptions]],
        search: Search,
        done: Callable[[], None],
    ) -> None:
        self._searches = searches
        self._search = search
        self._done = done
        self._lock = threading.Lock()
        self._holders = 1

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __len__(self) -> int:
        return len(self._searches)

    def chunks(self, threads: int) -> list[range]:
        """Numbers of searches that follow each other: one chunk a thread, or more where that would
        make them longer than `MOST_IN_A_ROW`."""
        share = -(-len(self) // threads)
        size = max(1, min(share, MOST_IN_A_ROW))
        return [range(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def answer(self, chunk: range) -> list[Outcome]:
        """What each search of a chunk found, or why it found nothing. The batch must be held."""
        return [self._outcome(*self._searches[number]) for number in chunk]

    def hold(self) -> None:
        """Keeps the instant readable until `release`; in the context only."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self._done()

    def _outcome(self, query: SparseVector, options: SearchOptions) -> Outcome:
        try:
            return self._search(query, options)
        except SparsegateError as error:
            # Without the frames that it met, which hold what the search worked with.
            return error.with_traceback(None)
