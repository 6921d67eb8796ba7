"""A batch of searches through a thread pool that single searches use as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TypeAlias

from sparsegate_server import index
from sparsegate_server.errors import SparsegateError
from sparsegate_server.operations import SearchResult

Outcomes: TypeAlias = list[SearchResult | SparsegateError]
Submit: TypeAlias = Callable[[Callable[[], Outcomes]], Future[Outcomes]]


async def answered(batch: index.Batch, threads: int, submit: Submit) -> Outcomes:
    """What each search found, in order; an error stands in the place of one that failed.

    A thread gets its next chunk when it is done with the last, behind whatever has come to the pool
    meanwhile: a single search waits for one chunk at most. Chunks that no thread has begun when the
    caller is cancelled are dropped.

    Args:
        submit: gives work to the pool, or raises why it takes no more.
    """
    chunks = batch.chunks(threads)
    found: dict[range, Outcomes] = {}
    left = iter(chunks)
    lanes = (_lane(batch, left, submit, found) for _ in range(min(threads, len(chunks))))
    try:
        await asyncio.gather(*lanes)
    finally:
        for _ in left:  # what ends one lane early ends the others too
            pass
    return [outcome for chunk in chunks for outcome in found[chunk]]


async def _lane(
    batch: index.Batch, left: Iterator[range], submit: Submit, found: dict[range, Outcomes]
) -> None:
    """One chunk after the other, as long as there are any."""
    for chunk in left:
        try:
            found[chunk] = await asyncio.wrap_future(_submitted(batch, chunk, submit))
        except SparsegateError as error:
            found[chunk] = [error] * len(chunk)


def _submitted(batch: index.Batch, chunk: range, submit: Submit) -> Future[Outcomes]:
    """The batch is held until the chunk is answered or dropped, however long the caller waits."""
    batch.hold()
    try:
        future = submit(partial(batch.answer, chunk))
    except BaseException:
        batch.release()
        raise
    future.add_done_callback(lambda _: batch.release())
    return future
