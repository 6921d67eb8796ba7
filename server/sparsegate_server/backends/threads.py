"""The threads that an engine's work runs in: short reads, long work, and changes of names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from sparsegate_server.errors import ShuttingDown

_Result = TypeVar("_Result")

_LONG_THREADS: Final = 4
"""Optimizations, calibrations, snapshots and restores that run at once."""


class Threads:
    """Work whose caller is cancelled before a thread has begun it is dropped; once begun it goes on
    to its end.

    All that gives work raises ShuttingDown from `close` on.

    Attributes:
        count: of those for reads.
        readers: where reads run, and the shards of one read. An idle engine gives a search all of
            them; a busy one leaves each search to its own thread, see `fan_out`.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.readers = ThreadPoolExecutor(count, "sparsegate-read")
        self._long = ThreadPoolExecutor(_LONG_THREADS, "sparsegate-long")
        self._names = ThreadPoolExecutor(1, "sparsegate-names")
        self._closed = False

    async def read(self, work: Callable[[], _Result]) -> _Result:
        return await self._in(self.readers, work)

    def read_soon(self, work: Callable[[], _Result]) -> Future[_Result]:
        """The same for who waits in another way."""
        self.refuse_if_closed()
        return self.readers.submit(work)

    async def long(self, work: Callable[[], _Result]) -> _Result:
        """Work that may take minutes."""
        return await self._in(self._long, work)

    async def named(self, work: Callable[[], _Result]) -> _Result:
        """Work that changes names, or needs them to stay: one at a time."""
        return await self._in(self._names, work)

    def refuse_if_closed(self) -> None:
        """Raises ShuttingDown: it takes no more work."""
        if self._closed:
            raise ShuttingDown("the index is shutting down: retry later")

    async def close(self) -> None:
        """Takes no more work, and finishes all but the long."""
        self._closed = True
        for executor in (self.readers, self._names):
            await asyncio.to_thread(executor.shutdown)

    async def finish_long(self) -> None:
        """Waits for the end of what is long, once `close` is done."""
        await asyncio.to_thread(self._long.shutdown)

    async def _in(self, executor: ThreadPoolExecutor, work: Callable[[], _Result]) -> _Result:
        self.refuse_if_closed()
        return await asyncio.get_running_loop().run_in_executor(executor, work)
