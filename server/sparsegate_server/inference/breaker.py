"""A circuit breaker: whether a server that has failed may be asked again, and when. Pure logic."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from sparsegate_server.errors import SparsegateError

Clock = Callable[[], float]

FAILURES = 3
"""Consecutive failures that open a breaker: one broken connection fails once and is made anew."""

FIRST_SECONDS, LONGEST_SECONDS = 0.25, 1.0
"""Pauses between probes, doubling. A probe of a dead server costs next to nothing, and the longest
pause bounds how long a server that is back stays unused."""


class State(Enum):
    """What a breaker lets through: everything, nothing, or the one probe under way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Closed while calls succeed; opened by consecutive failures or a failed probe; half-open while
    a single probe is under way, whose outcome closes it or opens it for longer.

    Args:
        clock: seconds that never go back, as `time.monotonic`.
        failures: consecutive ones that open it.
        first, longest: seconds between probes, doubling from the one to the other.

    Attributes:
        cause: why it is not closed; None while it is.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        failures: int = FAILURES,
        first: float = FIRST_SECONDS,
        longest: float = LONGEST_SECONDS,
    ) -> None:
        self._clock = clock
        self._failures = failures
        self._first = first
        self._longest = longest
        self._state = State.CLOSED
        self._consecutive = 0
        self._closings = 0
        self._pause = first
        self._probe_at = 0.0
        self.cause: SparsegateError | None = None

    @property
    def state(self) -> State:
        return self._state

    @property
    def closed(self) -> bool:
        """Whether calls may go through."""
        return self._state is State.CLOSED

    @property
    def retry_after(self) -> float:
        """Seconds until the next probe is due; 0 while it is closed or the probe is under way."""
        return max(0.0, self._probe_at - self._clock()) if self._state is State.OPEN else 0.0

    def enter(self) -> int:
        """A ticket to hand in with the outcome of a call that goes through now.

        A call that began before an outage may fail after it; its ticket is out of date by then, so
        that it says nothing of the server that has come back.
        """
        return self._closings

    def succeeded(self, ticket: int) -> None:
        """A call has been answered. While the breaker is not closed only the probe counts."""
        if self.closed and ticket == self._closings:
            self._consecutive = 0

    def failed(self, ticket: int, cause: SparsegateError) -> None:
        """A call has found the server away; so many in a row open the breaker."""
        if self.closed and ticket == self._closings:
            self._consecutive += 1
            if self._consecutive >= self._failures:
                self._open(cause)

    def begin_probe(self) -> None:
        """The single probe of an open breaker begins."""
        if self._state is State.OPEN:
            self._state = State.HALF_OPEN

    def probe_succeeded(self) -> None:
        """Closes it after its single probe; a check at any other time proves less than calls do."""
        if self._state is State.HALF_OPEN:
            self._state = State.CLOSED
            self._closings += 1
            self._consecutive = 0
            self._pause = self._first
            self.cause = None

    def probe_failed(self, cause: SparsegateError) -> None:
        """Opens it, whatever it was; after a probe of its own, for twice as long as before."""
        if self._state is State.HALF_OPEN:
            self._pause = min(2 * self._pause, self._longest)
        if self._state is State.OPEN:
            self.cause = cause
        else:
            self._open(cause)

    def _open(self, cause: SparsegateError) -> None:
        self._state = State.OPEN
        self._probe_at = self._clock() + self._pause
        self.cause = cause
