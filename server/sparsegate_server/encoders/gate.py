"""Decides which batch may run now, which waits, and which is refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sparsegate_server.errors import DeadlineExceeded, Overloaded

_SMOOTHING = 0.1
_SHORTEST_RETRY = 0.05


class BatchGate:
    """A bounded queue before the inference backend. Belongs to one event loop.

    Urgent batches (queries) go before the others (bulk ingest), else first come, first served.

    Args:
        in_flight: batches that run side by side.
        waiting: batches that may wait for their turn.
        bulk: how many of those that run may be bulk; all of them when None.
    """

    def __init__(self, in_flight: int, waiting: int, *, bulk: int | None = None) -> None:
        self._in_flight = in_flight
        self._max_bulk = in_flight if bulk is None else bulk
        self._max_waiting = waiting
        self._running = 0
        self._bulk = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()
        self._seconds = 0.0

    @property
    def waiting(self) -> int:
        return len(self._urgent) + len(self._patient)

    def admit(self, batches: int) -> None:
        """Checks that a request's batches fit, all of them, before any work is spent.

        Raises:
            Overloaded: they do not; `retry_after` estimates when the queue will be empty.
        """
        if self._running + self.waiting + batches > self._in_flight + self._max_waiting:
            seconds = self.waiting * self._seconds / self._in_flight
            raise Overloaded(
                f"{self.waiting} batches are waiting for inference: retry later or send less",
                retry_after=max(_SHORTEST_RETRY, seconds),
            )

    @asynccontextmanager
    async def slot(self, *, urgent: bool, deadline: float | None) -> AsyncIterator[None]:
        """Waits for its turn, and holds it while the body runs.

        Args:
            urgent: go before those that are not.
            deadline: in the event loop's time, or None.

        Raises:
            DeadlineExceeded: the deadline passed before the turn came.
        """
        await self._enter(urgent, deadline)
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            yield
            self._seconds += _SMOOTHING * (loop.time() - started - self._seconds)
        finally:
            self._leave(urgent)

    async def _enter(self, urgent: bool, deadline: float | None) -> None:
        loop = asyncio.get_running_loop()
        late = DeadlineExceeded("the deadline passed while the text waited for inference")
        if deadline is not None and loop.time() >= deadline:
            raise late
        lane = self._urgent if urgent else self._patient
        turn: asyncio.Future[None] = loop.create_future()
        lane.append(turn)
        self._call()
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # The turn came in the very moment of giving up: hand it on.
                self._leave(urgent)
            elif turn in lane:
                lane.remove(turn)
            if isinstance(error, TimeoutError):
                raise late from None
            raise

    def _leave(self, urgent: bool) -> None:
        self._running -= 1
        self._bulk -= not urgent
        self._call()

    def _call(self) -> None:
        """Gives the free places to those that wait."""
        while self._running < self._in_flight:
            if self._urgent:
                lane = self._urgent
            elif self._patient and self._bulk < self._max_bulk:
                lane = self._patient
            else:
                return
            turn = lane.popleft()
            if turn.done():
                continue  # Given up, in this very step of the loop.
            turn.set_result(None)
            self._running += 1
            self._bulk += lane is self._patient
