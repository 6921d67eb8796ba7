"""One function over several items, in several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def fan_out(
    pool: ThreadPoolExecutor | None, function: Callable[[_Item], _Result], items: Sequence[_Item]
) -> list[_Result]:
    """`[function(item) for item in items]`, the first in the calling thread, the rest in the pool.

    What the pool has not begun by the time the calling thread is free, the calling thread does
    itself: it waits only for work that is already running. So the calling thread may be one of
    the pool's own, and a pool whose threads all fan out, or that takes no more work because it is
    shutting down, cannot lock up.
    """
    if pool is None or len(items) < 2:
        return [function(item) for item in items]
    futures = _submitted(pool, function, items[1:])
    results = [function(items[0])]
    for future, item in zip_longest(futures, items[1:]):
        own = future is None or future.cancel()
        results.append(function(item) if own else future.result())
    return results


def _submitted(
    pool: ThreadPoolExecutor, function: Callable[[_Item], _Result], items: Sequence[_Item]
) -> list[Future[_Result]]:
    """As many of the first items as the pool takes."""
    futures = []
    for item in items:
        try:
            futures.append(pool.submit(function, item))
        except RuntimeError:  # it is shutting down
            break
    return futures
