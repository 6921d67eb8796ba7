"""The one thread that writes to a collection: requests that wait together are committed together.

Each request is one step of a group. A step changes the contents in memory, where nobody sees it
yet, and the store's open transaction; one commit makes the whole group durable, one publication
makes it visible, and then its requests are answered. A step that fails is taken back alone; if the
commit fails, all are.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple, TypeVar

from sparsegate_server.errors import ShuttingDown, SparsegateError
from sparsegate_server.index.contents import Contents
from sparsegate_server.index.shard import Undo
from sparsegate_server.index.store.database import Store

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

_LARGEST_GROUP: Final = 64
"""Requests that share a commit; more would delay the first one's answer."""


class _Waiting(NamedTuple):
    step: Callable[[Undo], Any]
    future: Future[Any]
    grows: bool


class Writer:
    """Runs steps in the order in which they were submitted.

    Args:
        ready: called before a group that adds documents, outside of the lock; waits while the
            contents cannot take more, or raises what these steps then fail with.
        written: called after each group that was committed; must not raise.
    """

    def __init__(
        self,
        store: Store,
        contents: Contents,
        *,
        ready: Callable[[], None],
        written: Callable[[], None],
    ) -> None:
        self._store = store
        self._contents = contents
        self._ready = ready
        self._written = written
        self._steps: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sparsegate-write", daemon=True)
        self._thread.start()

    def submit(self, step: Callable[[Undo], _Result], *, grows: bool = True) -> Future[_Result]:
        """A step that has not begun can be cancelled; one that has is finished.

        Args:
            grows: whether it may add documents.

        Raises:
            ShuttingDown: the writer is closed.
        """
        future: Future[_Result] = Future()
        with self._closing:
            if self._closed:
                raise ShuttingDown("the collection is closed: retry later")
            self._steps.put(_Waiting(step, future, grows))
        return future

    def close(self) -> None:
        """Finishes what was submitted."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._steps.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._steps.get()) is not None:
            group, last = [first], False
            while len(group) < _LARGEST_GROUP and not self._steps.empty():
                step = self._steps.get()
                if step is None:
                    last = True
                    break
                group.append(step)
            running = [each for each in group if each.future.set_running_or_notify_cancel()]
            if running and self._serve(running):
                self._written()
            if last:
                return

    def _serve(self, group: list[_Waiting]) -> bool:
        """Whether the group was committed; all its requests have their answers."""
        group = self._with_room(group)
        try:
            with self._contents.lock:
                results = self._commit(group)
        except BaseException as error:
            _fail(group, error)
            return False
        for future, result in results:
            future.set_result(result)
        return True

    def _with_room(self, group: list[_Waiting]) -> list[_Waiting]:
        """The steps that there is room for."""
        if any(each.grows for each in group):
            try:
                self._ready()
            except SparsegateError as error:
                _fail([each for each in group if each.grows], error)
                return [each for each in group if not each.grows]
        return group

    def _commit(self, group: list[_Waiting]) -> list[tuple[Future[Any], Any]]:
        """Applies a group and makes it durable and visible; a failed step's future fails at once.

        Raises:
            SparsegateError: nothing of the group was applied.
        """
        contents = self._contents
        undo: Undo = []
        before = contents.sequence
        results: list[tuple[Future[Any], Any]] = []
        self._store.begin()
        try:
            for step, future, _ in group:
                try:
                    results.append((future, self._step(step, undo)))
                except Exception as error:
                    if not self._store.in_transaction:
                        raise  # SQLite has given up the whole transaction
                    if not isinstance(error, SparsegateError):
                        _log.exception("a write failed")
                    future.set_exception(error)
            if self._store.changed:
                self._store.set_facts(sequence=contents.sequence, next_number=contents.next_number)
            self._store.commit()
        except BaseException:
            _take_back(undo, 0)
            contents.sequence = before
            self._store.rollback()
            raise
        contents.publish()
        return results

    def _step(self, step: Callable[[Undo], _Result], undo: Undo) -> _Result:
        """Runs a step; if it fails, nothing of it has happened."""
        mark, before = len(undo), self._contents.sequence
        self._store.save()
        try:
            result = step(undo)
            self._store.keep()
        except BaseException:
            _take_back(undo, mark)
            self._contents.sequence = before
            self._store.restore()
            raise
        return result


def _fail(group: Sequence[_Waiting], error: BaseException) -> None:
    if not isinstance(error, SparsegateError):
        _log.error("a group of writes failed", exc_info=error)
    for each in group:
        if not each.future.done():
            each.future.set_exception(error)


def _take_back(undo: Undo, mark: int) -> None:
    while len(undo) > mark:
        undo.pop()()
