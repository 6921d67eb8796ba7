"""One function over several items, in several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def fan_out(
    pool: ThreadPoolExecutor | None, function: Callable[[_Item], _Result], items: Sequence[_Item]
) -> list[_Result]:
    """`[function(item) for item in items]`, the first in the calling thread, the rest in the pool.

    What the pool has not begun by the time the calling thread is free, the calling thread does
    itself: it waits only for work that is already running. So the calling thread may be one of
    the pool's own, and a pool whose threads all fan out cannot lock up.
    """
    if pool is None or len(items) < 2:
        return [function(item) for item in items]
    futures = [pool.submit(function, item) for item in items[1:]]
    results = [function(items[0])]
    for future, item in zip(futures, items[1:], strict=True):
        results.append(function(item) if future.cancel() else future.result())
    return results
