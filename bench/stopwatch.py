"""Times of calls that take turns, so that a slow moment of the machine meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def least(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Each call's least seconds, in rounds for so long and at least three times."""
    best = dict.fromkeys(calls, float("inf"))
    rounds, end = 0, time.perf_counter() + seconds
    while rounds < 3 or time.perf_counter() < end:
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - begin)
        rounds += 1
    return best
