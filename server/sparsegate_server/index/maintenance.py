"""Background threads that seal and merge, for all collections of a process.

One thread seals, so that no seal waits for a long merge; another merges and makes payload columns,
which bounds what background work takes from searches to one core. Both are nicer than the threads
that serve.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from sparsegate_server.errors import SparsegateError

_log = logging.getLogger(__name__)

_NICENESS: Final = 10
"""Low enough to give way to searches. Not lower: a thread that holds a lock for a moment and is not
let run to give it back, would hold up those that wait for it."""

_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 60.0


class Job:
    """One kind of work on one collection.

    Attributes:
        problem: why the last try failed, "" if it did not.
    """

    def __init__(self, name: str, work: Callable[[], bool]) -> None:
        self.name = name
        self.problem = ""
        self._work = work
        self._failures = 0

    @property
    def pause(self) -> float:
        """Seconds until the next try: none after a success, twice as many after each failure."""
        if not self._failures:
            return 0.0
        doubled = _RETRY_SECONDS * float(2 ** (self._failures - 1))
        return min(doubled, _LONGEST_RETRY_SECONDS)

    def run(self) -> bool:
        """Does one piece. Returns whether there was one."""
        try:
            done = self._work()
        except SparsegateError as error:
            self._fail(error.message)
            raise
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            raise
        self.problem = ""
        self._failures = 0
        return done

    def _fail(self, why: str) -> None:
        if why != self.problem:  # once, not at every try
            _log.exception("%s fails and is tried again", self.name)
        self.problem = why
        self._failures = min(self._failures + 1, 10)


class Lane:
    """A thread that runs jobs, those that were woken first before the others."""

    def __init__(self, name: str) -> None:
        self._woken: dict[Job, float] = {}
        self._running: Job | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self, job: Job, after: float = 0.0) -> None:
        """Runs the job soon, or after so many seconds, again and again until it has nothing left to
        do."""
        with self._changed:
            when = time.monotonic() + after
            self._woken[job] = min(when, self._woken.get(job, when))
            self._changed.notify_all()

    def busy(self, job: Job) -> bool:
        """Whether the job runs or is about to."""
        with self._changed:
            return job in self._woken or self._running is job

    def forget(self, job: Job) -> None:
        """Returns when the job does not run and will not any more."""
        with self._changed:
            self._woken.pop(job, None)
            self._changed.wait_for(lambda: self._running is not job)
            self._woken.pop(job, None)

    def close(self) -> None:
        """Finishes the piece in hand."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while (job := self._next()) is not None:
            try:
                again = job.run()
            except Exception:
                again = True
            with self._changed:
                self._running = None
                if again:
                    when = time.monotonic() + job.pause
                    self._woken[job] = min(when, self._woken.get(job, when))
                self._changed.notify_all()

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                due = [job for job, when in self._woken.items() if when <= now]
                if due:
                    self._running = due[0]
                    del self._woken[due[0]]
                    return due[0]
                soonest = min(self._woken.values(), default=None)
                self._changed.wait(None if soonest is None else soonest - now)
            return None


class Maintenance:
    """The lanes of a process."""

    def __init__(self) -> None:
        self.sealing = Lane("sparsegate-seal")
        self.merging = Lane("sparsegate-merge")

    def close(self) -> None:
        self.sealing.close()
        self.merging.close()
