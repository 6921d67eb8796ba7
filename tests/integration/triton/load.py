"""Clients that keep a gateway busy and write down what became of every single request."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from sparsegate import Client, Document, SparsegateError

COLLECTION = "films"
TIMEOUTS = (0.3, 1.0, 3.0, 10.0)
WRITE = 2
TEXT = "a movie about music number"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request.

    Attributes:
        began, ended: seconds of `time.monotonic`.
        timeout: seconds that it had.
        code: name of the gRPC code, "OK" when it was answered.
        retry_after: the hint of a refusal, or None.
        stored: the id that an acknowledged write has stored, or None.
    """

    began: float
    ended: float
    timeout: float
    code: str
    retry_after: float | None = None
    stored: int | None = None

    @property
    def overrun(self) -> float:
        """Seconds that it took past its deadline; negative when it was in time."""
        return self.ended - self.began - self.timeout


class Load:
    """Several client threads with a connection each, from entering the context to its end.

    Searches, encodings and writes take turns, with deadlines from short to long. The channel's own
    retries are off, so that what is counted is what the gateway does.

    Args:
        model: whose encodings are asked for: empty means the only one, which an encoding cannot
            say any more once a second one is served.
    """

    def __init__(
        self,
        address: str,
        threads: int = 6,
        timeouts: Iterable[float] = TIMEOUTS,
        model: str = "",
    ) -> None:
        self._address = address
        self._model = model
        self._timeouts = tuple(timeouts)
        self._stop = threading.Event()
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def outcomes(self) -> list[Outcome]:
        with self._lock:
            return list(self._outcomes)

    def between(self, began: float, ended: float) -> list[Outcome]:
        """The requests that began then."""
        return [each for each in self.outcomes if began <= each.began < ended]

    def answered_after(self, instant: float, seconds: float) -> float:
        """Seconds from an instant to the end of the first request that began after it and was
        answered; waits for it at most so long.

        Raises:
            AssertionError: there was none.
        """
        return self._ended_after(instant, seconds, "OK")

    def refused_after(self, instant: float, seconds: float) -> float:
        """The same for the first one that was refused because something is away."""
        return self._ended_after(instant, seconds, "UNAVAILABLE")

    def _ended_after(self, instant: float, seconds: float, code: str) -> float:
        while time.monotonic() < instant + seconds:
            found = [
                each.ended for each in self.outcomes if each.code == code and each.began >= instant
            ]
            if found:
                return min(found) - instant
            time.sleep(0.02)
        raise AssertionError(f"no request ended as {code} within {seconds:g} s: {self.codes()}")

    def codes(self) -> Counter[str]:
        return Counter(each.code for each in self.outcomes)

    def _run(self, number: int) -> None:
        with Client(self._address, options=[("grpc.enable_retries", 0)]) as client:
            for turn in itertools.count(number):
                if self._stop.is_set():
                    return
                timeout = self._timeouts[turn % len(self._timeouts)]
                outcome = self._one(client, turn % 3, timeout)
                with self._lock:
                    self._outcomes.append(outcome)
                # Who is refused comes back soon; nobody hammers.
                self._stop.wait(0.005 if outcome.code == "OK" else 0.05)

    def _one(self, client: Client, kind: int, timeout: float) -> Outcome:
        unique = next(self._ids)
        text = f"{TEXT} {unique}"
        calls: tuple[Callable[[], Any], ...] = (
            lambda: client.search(COLLECTION, text, timeout=timeout),
            lambda: client.encode([text], mode="query", model=self._model, timeout=timeout),
            lambda: client.upsert(
                COLLECTION, [Document(unique, text)], timeout=timeout
            ).raise_for_errors(),
        )
        began = time.monotonic()
        try:
            calls[kind]()
        except SparsegateError as error:
            ended = time.monotonic()
            return Outcome(began, ended, timeout, error.code.name, error.retry_after)
        ended = time.monotonic()
        return Outcome(began, ended, timeout, "OK", stored=unique if kind == WRITE else None)
