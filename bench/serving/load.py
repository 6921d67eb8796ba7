"""Closed and open loops of requests, and what they took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

Call = Callable[[str], Awaitable[object]]
_MICROSECOND = 1e-6
_LONGEST = 120.0
"""Seconds that a histogram can hold."""


def _histogram() -> HdrHistogram:
    return HdrHistogram(1, round(_LONGEST / _MICROSECOND), 3)


@dataclass(slots=True)
class Load:
    """What requests did, over one round or several.

    Attributes:
        seconds: that the rounds took.
        latencies: in microseconds, three significant digits; a failure counts as the longest one,
            so that no percentile gets better by it.
        why: the first failure.
    """

    seconds: float = 0.0
    answered: int = 0
    failed: int = 0
    latencies: HdrHistogram = field(default_factory=_histogram)
    why: str = ""

    @property
    def rate(self) -> float:
        """Requests answered in a second."""
        return self.answered / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds; NaN where nothing was asked."""
        if not self.answered + self.failed:
            return float("nan")
        return float(self.latencies.get_value_at_percentile(share)) / 1e3

    def described(self) -> str:
        """For a note: what does not show in one percentile."""
        percentiles = "/".join(f"{self.percentile(share):.3g}" for share in (50, 95, 99))
        failed = f", {self.failed} failed: {self.why}" if self.failed else ""
        return f"p50/95/99 {percentiles} ms of {self.answered}{failed}"

    async def time(self, call: Call, text: str, since: float) -> None:
        """Makes one request and counts it.

        Args:
            since: the moment by `time.perf_counter` from which its latency counts.
        """
        try:
            await call(text)
        except Exception as error:
            self.failed += 1
            self.why = self.why or str(error)
            elapsed = _LONGEST
        else:
            self.answered += 1
            elapsed = min(_LONGEST, time.perf_counter() - since)
        self.latencies.record_value(max(1, int(elapsed / _MICROSECOND)))


async def closed_loop(
    calls: Sequence[Call], texts: Iterator[str], seconds: float, load: Load
) -> None:
    """Each caller asks, waits, and asks again until the time is over.

    The rate is what the service bears; the latencies say nothing about any other rate.
    """
    begin = time.perf_counter()

    async def work(call: Call) -> None:
        while (now := time.perf_counter()) - begin < seconds:
            await load.time(call, next(texts), now)

    await asyncio.gather(*map(work, calls))
    load.seconds += time.perf_counter() - begin


async def each_once(calls: Sequence[Call], texts: Sequence[str], load: Load) -> None:
    """The callers share a fixed number of texts; the next one takes who is free."""
    begin = time.perf_counter()
    left = iter(texts)

    async def work(call: Call) -> None:
        for text in left:
            await load.time(call, text, time.perf_counter())

    await asyncio.gather(*map(work, calls))
    load.seconds += time.perf_counter() - begin


async def open_loop(
    calls: Sequence[Call], texts: Iterator[str], due: NDArray[np.float64], load: Load
) -> None:
    """Sends requests when they are due, however many are still unanswered.

    A latency counts from the moment at which its request was due, so that what waits for a slow
    answer, here or there, is not left out (no coordinated omission).

    Args:
        due: seconds from now, ascending; the callers take turns.
    """
    begin = time.perf_counter()
    under_way: list[asyncio.Task[None]] = []
    for at, moment in enumerate((begin + due).tolist()):
        if (wait := moment - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        request = load.time(calls[at % len(calls)], next(texts), moment)
        under_way.append(asyncio.create_task(request))
    await asyncio.gather(*under_way)
    load.seconds += time.perf_counter() - begin


def arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Moments of a Poisson process, float64, ascending: what many independent askers make.

    Args:
        rate: in the mean, of a second.
        seconds: all moments are before.
    """
    draw = np.random.default_rng(seed)
    gaps = draw.exponential(1 / rate, int(rate * seconds + 10 * (rate * seconds) ** 0.5) + 10)
    moments = np.cumsum(gaps)
    return moments[moments < seconds]
